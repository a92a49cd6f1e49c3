"""Do the stages that a run directory still lacks."""
