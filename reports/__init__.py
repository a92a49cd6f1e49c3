"""Show runs: page, plots, tables in the terminal."""
