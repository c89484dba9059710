"""From a folder to images and their table."""
