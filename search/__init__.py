"""Find the widths of a subnetwork under a budget."""
