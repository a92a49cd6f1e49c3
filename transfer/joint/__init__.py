"""Prune while distilling: PDD, KDDP, block-wise."""
