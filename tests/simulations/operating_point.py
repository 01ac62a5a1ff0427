"""Whether the sensitivity that an operating point claims holds for other lesions, of 1 to 6 images each."""

import math
from bisect import bisect_left
from pathlib import Path

import numpy as np

from melanoma import config
from melanoma.config.evaluation import Evaluate
from melanoma.evaluation import calibration, thresholds
from melanoma.scoring.operating_point import Calibration
from tests.simulations.rows import Row

ASKED = 0.95
NUM_BENIGN = 60  # groups; they play no part in the sensitivity
NUM_FUTURE = 1_000_000  # malignant groups, from which the true sensitivity is read
PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
CASES = (  # malignant groups, calibration, decimals of the scores
    (30, "none", 12),
    (98, "none", 12),
    (300, "none", 12),
    (98, "none", 1),
    (98, "isotonic", 12),
)


def simulate(num: int, seed: int) -> list[Row]:
    """Share of calibration sets on which what is claimed of the sensitivity holds for all other lesions."""
    drawn = np.random.default_rng(seed)
    return [row for case in CASES for row in _rows(*case, num=num, drawn=drawn)]


def _rows(num_groups: int, method: str, decimals: int, *, num: int, drawn: np.random.Generator) -> list[Row]:
    plain, sure = settings(None), settings(0.95)
    future, groups = _scores(NUM_FUTURE, drawn, mean=1.0, decimals=decimals)
    lowest = np.sort(np.minimum.reduceat(future, np.unique(groups, return_index=True)[1]))
    future.sort()
    held = np.zeros((num, 4), dtype=bool)
    for at in range(num):
        target, score, ids = _calibration_images(num_groups, drawn, decimals)
        fitted = (
            Calibration()
            if method == "none"
            else calibration.fit(method, target, score, trained_prevalence=0.5)
        )
        images = (target, fitted.apply(score), ids)
        before = _share_from(future, _by_image(*images[:2]), fitted)
        point, moved = (
            thresholds.choose(*images, calibration=fitted, settings=wanted) for wanted in (plain, sure)
        )
        bound = point.evidence["asked_and_got"]["threshold"]["guaranteed"]
        reached = [_share_from(lowest, one.threshold, fitted) for one in (point, moved)]
        held[at] = before >= ASKED, reached[0] >= bound, reached[0] >= ASKED, reached[1] >= ASKED
    shares = [f"{share:.3f}" for share in held.mean(0)]
    kind = {1: ", scores of one decimal"}.get(decimals, "") + ("" if method == "none" else f", {method}")
    truth = f"{num_groups} positive groups of 1 to 6 images{kind}"
    rows = [Row("sensitivity claimed for the threshold: sets where it holds", truth, "0.95", *shares[:2])]
    if num_groups >= 59:
        rows.append(
            Row("sensitivity_confidence 0.95: sets where 0.95 is reached", truth, "0.95", *shares[2:])
        )
    return rows


def _share_from(in_order: np.ndarray, threshold: float, fitted: Calibration) -> float:
    """Share of scores, in increasing order, whose calibrated probability is at least `threshold`."""
    return 1 - bisect_left(in_order, threshold, key=lambda score: float(fitted.apply(score))) / len(in_order)


def settings(confidence: float | None) -> Evaluate:
    """The parameters of `evaluate` that ask for a sensitivity of `ASKED`."""
    changes = {"sensitivity_confidence": confidence, "min_sensitivity": ASKED}
    return config.load(PARAMS).evaluate.model_copy(update=changes)


def _calibration_images(
    num_groups: int, drawn: np.random.Generator, decimals: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    malignant, ids = _scores(num_groups, drawn, mean=1.0, decimals=decimals)
    benign, others = _scores(NUM_BENIGN, drawn, mean=-1.0, decimals=decimals)
    target = np.repeat([1, 0], [len(malignant), len(benign)])
    return target, np.r_[malignant, benign], np.r_[ids, others + num_groups]


def _scores(
    num_groups: int, drawn: np.random.Generator, *, mean: float, decimals: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores in 0..1 of images, and their groups, which share two thirds of the variance."""
    sizes = drawn.integers(1, 7, size=num_groups)
    groups = np.repeat(np.arange(num_groups), sizes)
    common, own = drawn.normal(size=num_groups), drawn.normal(size=len(groups))
    logit = mean + np.sqrt(2) * common[groups] + own
    return np.round(1 / (1 + np.exp(-logit)), decimals), groups


def _by_image(target: np.ndarray, probability: np.ndarray) -> float:
    """The rule in use before: the highest threshold that finds enough positive images."""
    malignant = np.sort(probability[target == 1])[::-1]
    return float(malignant[max(1, math.ceil(ASKED * len(malignant) - 1e-9)) - 1])
