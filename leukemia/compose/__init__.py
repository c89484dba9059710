"""Settings become objects."""
