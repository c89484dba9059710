"""Looks for what makes figures on a dataset untrue."""
