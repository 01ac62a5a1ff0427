"""What each image file is, and whether it may be used."""
