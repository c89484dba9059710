"""A model and data become weights."""
