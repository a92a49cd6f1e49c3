"""One resumable training loop, on one or many processes."""
