"""One run directory: what was asked, what is done, what it left."""
