"""Hours of kills, for a machine that is left alone: `python -m tests.soak --help`. Not collected by pytest."""
