"""Bodies of stages and commands that load, call and save, and their helpers."""
