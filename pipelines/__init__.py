"""One thin script per stage of dvc.yaml and per entry point of MLproject."""
