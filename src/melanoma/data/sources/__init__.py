"""Where images come from: one reader for each dataset."""
