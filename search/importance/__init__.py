"""One function a score: network and images to one number a channel."""
