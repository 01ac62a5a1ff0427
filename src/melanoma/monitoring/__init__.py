"""What the model in use does: shift of its images, and its sensitivity from late labels."""
