"""The model registry: versions, moves of aliases with their reasons, and looks at test sets."""
