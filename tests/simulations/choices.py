"""Whether the guaranteed sensitivity of a threshold holds after the network was chosen among many.

Candidates (epochs, trials, seeds) are equally good: malignant scores are normal around 1.5, benign ones
around 0. One of them is chosen by its results on some groups, and its threshold is set on validation groups.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import norm

from melanoma.evaluation.guarantee import CONFIDENCE, guaranteed_share, plain_rank
from melanoma.schema import TRAIN, VALIDATION
from melanoma.stages import experiments
from tests.simulations.rows import Row

NUM_CANDIDATES, SHIFT, SENSITIVITY = 60, 1.5, 0.95
COUNTS = ((8, 32), (60, 240))  # malignant and benign validation groups; training has three times these

Scores = np.ndarray  # (num_candidates, num_groups)
Objective = Callable[[Scores, np.ndarray], np.ndarray]


def simulate(num: int, seed: int) -> list[Row]:
    """Share of data sets in which the chosen network keeps the sensitivity that its threshold guarantees."""
    drawn = np.random.default_rng(seed)
    return [
        _row(name, objective, counts, num, drawn)
        for name, objective in (("AUC", _auc), ("specificity at 95 % sensitivity", _specificity))
        for counts in COUNTS
    ]


def _row(
    name: str, objective: Objective, counts: tuple[int, int], num: int, drawn: np.random.Generator
) -> Row:
    index = _index(counts)
    target, is_validation = index["target"].to_numpy(), (index["split"] == VALIDATION).to_numpy()
    chosen_on = {"before": is_validation, "after": experiments.held_out(index, num_folds=1)}
    kept = dict.fromkeys(chosen_on, 0)
    for _ in range(num):
        scores = drawn.normal(size=(NUM_CANDIDATES, len(index))) + SHIFT * target
        for rule, images in chosen_on.items():
            best = int(np.argmax(objective(scores[:, images], target[images])))
            kept[rule] += _keeps(np.sort(scores[best, is_validation & (target == 1)]))
    return Row(
        f"one of {NUM_CANDIDATES} networks chosen by {name}: its threshold keeps the guaranteed sensitivity",
        f"{counts[0]} positive validation groups",
        f"{CONFIDENCE:.2f}",
        f"{kept['before'] / num:.2f}",
        f"{kept['after'] / num:.2f}",
    )


def _index(counts: tuple[int, int]) -> pd.DataFrame:
    num = sum(counts)
    target = np.tile(np.repeat([1, 0], counts), 4)
    split = np.repeat([VALIDATION, TRAIN], [num, 3 * num])
    return pd.DataFrame({"target": target, "split": split, "group_id": np.arange(4 * num).astype(str)})


def _keeps(malignant: np.ndarray) -> bool:
    """Whether the true sensitivity at the threshold is at least the one that is guaranteed."""
    rank = plain_rank(SENSITIVITY, len(malignant))
    promised = guaranteed_share(rank, len(malignant), confidence=CONFIDENCE)
    return bool(norm.sf(malignant[rank - 1] - SHIFT) >= promised)


def _auc(scores: Scores, target: np.ndarray) -> np.ndarray:
    return np.mean(scores[:, target == 1, None] > scores[:, None, target == 0], axis=(1, 2))


def _specificity(scores: Scores, target: np.ndarray) -> np.ndarray:
    malignant = np.sort(scores[:, target == 1], axis=1)
    threshold = malignant[:, plain_rank(SENSITIVITY, malignant.shape[1]) - 1]
    return np.mean(scores[:, target == 0] < threshold[:, None], axis=1)
