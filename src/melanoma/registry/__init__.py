"""The model registry: versions, who moved which alias and why, and how often a test split was looked at."""
