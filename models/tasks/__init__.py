"""What a network is for: how its outputs are judged against targets, and compared with each other."""
