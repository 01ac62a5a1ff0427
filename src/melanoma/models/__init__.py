"""Network builders, one module a family."""
