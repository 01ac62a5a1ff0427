import numpy as np
import pytest

from melanoma.evaluation.bands import GRID, precision_band, roc_band
from melanoma.evaluation.bootstrap import draw_weights

pytestmark = pytest.mark.filterwarnings("error")


def test_the_roc_band_follows_the_curve_and_holds_it(counted):
    weights = draw_weights(np.arange(10).astype(str), num_draws=300, seed=1)
    band = roc_band(*counted, weights=weights)
    at = dict(zip(GRID.round(2), band["sensitivity"], strict=True))
    # above the first negative score (0.7) lie 0.9 and 0.8; above the second also 0.6; 0.3 ties with the third
    assert (at[0.0], at[0.16], at[0.17], at[0.34], at[0.5]) == (2 / 4, 2 / 4, 3 / 4, 3 / 4, 4 / 4)
    assert (band["low"] <= band["sensitivity"]).all()
    assert (band["high"] >= band["sensitivity"]).all()


def test_the_precision_band_is_the_best_precision_at_that_recall(counted):
    weights = draw_weights(np.arange(10).astype(str), num_draws=300, seed=1)
    band = precision_band(*counted, weights=weights)
    at = dict(zip(GRID.round(2), band["precision"], strict=True))
    # 0.9 and 0.8 positive; then 3 of 4 by 0.6; then 4 of 6 by 0.3, which a negative one shares: 4 of 7
    assert (at[0.5], at[0.51], at[0.75], at[0.76]) == (1, 3 / 4, 3 / 4, 4 / 7)


def test_bands_of_one_class_are_undefined():
    weights = draw_weights(np.arange(4).astype(str), num_draws=20, seed=1)
    negative = (np.zeros(4), np.linspace(0, 1, 4))
    assert roc_band(*negative, weights=weights)[["sensitivity", "low", "high"]].isna().all(axis=None)
    assert precision_band(*negative, weights=weights)[["precision", "low"]].isna().all(axis=None)
