"""Networks by name, and their trained weights from a file."""
