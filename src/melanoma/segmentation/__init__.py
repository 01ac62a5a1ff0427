"""A small U-Net that segments the lesion.

Kept apart from `models` and `training`, so that changes here do not invalidate checkpoints and studies of
classifiers (see `training.recipe.code_digest`).
"""
