"""What is done to the pixels of one image."""
