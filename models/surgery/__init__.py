"""Cut a subnetwork out, and prove on the user's own network that the cut is right."""
