"""A page to look with, and the answers behind it."""
