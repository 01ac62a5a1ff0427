"""The model that is served and how it is exported; needs no TensorFlow."""
