"""Where the lesion is: a small network that draws its mask; knows no tracker.

Not part of `models` and `training`: what changes here makes no classifier another one, and no training of one
begins anew (see `training.recipe.code_digest`).
"""
