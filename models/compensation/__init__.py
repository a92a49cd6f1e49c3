"""Refit, in closed form, what reads a narrowed group."""
