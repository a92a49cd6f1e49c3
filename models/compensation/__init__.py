"""Refit, in closed form, the weights that read a narrowed group."""
