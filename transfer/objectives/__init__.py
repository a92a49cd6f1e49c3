"""One class a training objective, over pure losses."""
