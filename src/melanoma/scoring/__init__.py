"""From scores to decisions and occlusion maps: shared by evaluation and the served model; numpy only."""
