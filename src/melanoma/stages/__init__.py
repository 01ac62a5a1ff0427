"""One module for each stage: load, call, save."""
