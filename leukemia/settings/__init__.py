"""What is typed and written down: read, checked and compared, without torch."""
