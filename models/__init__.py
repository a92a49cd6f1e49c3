"""What a network is, what a part of it is, and what that costs."""
