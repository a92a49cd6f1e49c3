"""What proposes widths: Optuna's samplers, their proposals fitted to the budget."""
