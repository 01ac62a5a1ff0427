"""Which images belong together, and on which side of the split they lie."""
