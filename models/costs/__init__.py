"""What widths cost in closed form, and which widths a budget allows."""
