"""Which images belong together, and which split each group is in."""
