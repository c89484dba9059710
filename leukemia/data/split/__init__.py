"""Training, validation and test, and what keeps them apart."""
