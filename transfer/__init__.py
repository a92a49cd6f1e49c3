"""Hand what the search learnt to the pruned network."""
