"""A found network outside: measured, exported, reused."""
