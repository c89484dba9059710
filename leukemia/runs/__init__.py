"""A run's directory: written, opened, scored and used."""
