"""Follow every channel through one forward pass, and sort channels into groups."""
