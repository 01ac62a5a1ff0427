"""Statistics that watch a version in use; knows no tracker and reads no files."""
