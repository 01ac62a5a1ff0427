"""Whether the interval of a cross-validated AUC covers the true one, and when a test side counts as unusual.

A linear discriminant learns from features of grouped images. The truth is the mean AUC of discriminants from
training sets of this size, over the distribution of new groups.
"""

import numpy as np
import pandas as pd
from scipy import stats

from melanoma.data.groups import folds
from melanoma.evaluation import crossvalidation
from melanoma.schema import TEST, TRAIN, VALIDATION
from tests.simulations.rows import Row

NUM_FOLDS, NUM_FEATURES = 5, 8
NUM_GROUPS = (120, 400)
SIGNAL, PREVALENCE = 0.35, 0.25
FIGURE = "auc_roc"


def simulate(num: int, seed: int) -> list[Row]:
    """Coverage of the naive and of the corrected interval; share of fixed test sides called unusual.

    A tenth of `num` data sets: each is divided six times.
    """
    drawn = np.random.default_rng(seed)
    return [row for num_groups in NUM_GROUPS for row in _rows(num_groups, max(num // 10, 1), drawn)]


def _rows(num_groups: int, num: int, drawn: np.random.Generator) -> list[Row]:
    truth = _true_auc(num_groups, drawn)
    covers, unusual = np.zeros((num, 2), bool), np.zeros((num, 2), bool)
    for at in range(num):
        features, target, group_ids = _draw(num_groups, drawn)
        index = pd.DataFrame(
            {"target": target, "group_id": group_ids, "split": _fixed(target, group_ids, at)}
        )
        by_fold = [
            _measure(features, one) for one in crossvalidation.plan(index, num_folds=NUM_FOLDS, seed=at + num)
        ]
        values = np.array([fold[FIGURE] for fold in by_fold])
        half = stats.t.ppf(0.975, NUM_FOLDS - 1) * values.std(ddof=1) / np.sqrt(NUM_FOLDS)
        found = crossvalidation.average(by_fold)[FIGURE]
        covers[at] = abs(values.mean() - truth) <= half, found["low"] <= truth <= found["high"]
        against = crossvalidation.against_fixed(list(values), _measure(features, index)[FIGURE])
        naive = abs(against["auc_roc"] - values.mean()) / found["standard_error"]
        unusual[at] = naive > stats.t.ppf(0.975, NUM_FOLDS - 1), against["p_value"] < 0.05
    name = f"{num_groups} groups of 1 to 3 images, {NUM_FOLDS} folds"
    return [
        Row("cross-validated AUC: coverage of the 95 % interval", name, "0.95", *_shares(covers)),
        Row("equally drawn fixed test side called unusual, p below 0.05", name, "0.05", *_shares(unusual)),
    ]


def _shares(found: np.ndarray) -> list[str]:
    return [f"{share:.2f}" for share in found.mean(axis=0)]


def _draw(num_groups: int, drawn: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, targets and groups of images; images of a group share most of their features."""
    sizes, malignant = drawn.integers(1, 4, num_groups), drawn.random(num_groups) < PREVALENCE
    of_group = drawn.normal(size=(num_groups, NUM_FEATURES)) + SIGNAL * malignant[:, None]
    own = drawn.normal(size=(sizes.sum(), NUM_FEATURES)) * 0.5
    groups = np.repeat(np.arange(num_groups), sizes)
    return of_group[groups] + own, malignant[groups].astype(float), groups.astype(str)


def _fixed(target: np.ndarray, group_ids: np.ndarray, seed: int) -> np.ndarray:
    fold_of = folds.assign(target, group_ids, num_folds=5, seed=seed, what="The set")
    return np.select([fold_of == 0, fold_of == 1], [TEST, VALIDATION], TRAIN)


def _measure(features: np.ndarray, index: pd.DataFrame) -> dict[str, float]:
    """Figures of a discriminant of the training images; only the AUC is measured."""
    split, target = index["split"].to_numpy(), index["target"].to_numpy()
    weights = _fit(features[split == TRAIN], target[split == TRAIN])
    is_test = split == TEST
    groups = index.groupby("split")["group_id"].nunique()
    return dict.fromkeys(crossvalidation.FIGURES, 0.0) | {
        FIGURE: _auc(target[is_test], features[is_test] @ weights),
        "num_test_groups": int(groups[TEST]),
        "num_training_groups": int(groups[TRAIN]),
    }


def _fit(features: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Linear discriminant: for normal features the same direction as logistic regression, and faster."""
    malignant, benign = features[target == 1], features[target == 0]
    within = np.cov(np.r_[malignant - malignant.mean(0), benign - benign.mean(0)].T)
    return np.linalg.solve(within, malignant.mean(0) - benign.mean(0))


def _auc(target: np.ndarray, score: np.ndarray) -> float:
    ranks = stats.rankdata(score)
    num_malignant = target.sum()
    above = ranks[target == 1].sum() - num_malignant * (num_malignant + 1) / 2
    return float(above / (num_malignant * (len(target) - num_malignant)))


def _true_auc(num_groups: int, drawn: np.random.Generator, *, num: int = 300) -> float:
    """Mean AUC of discriminants from 60 % of as many groups, from the distribution of the features."""
    found = []
    for _ in range(num):
        features, target, _ = _draw(round(0.6 * num_groups), drawn)
        if 2 <= target.sum() <= len(target) - 2:
            weights = _fit(features, target)
            spread = np.sqrt(2 * 1.25) * np.linalg.norm(weights)
            found.append(stats.norm.cdf(SIGNAL * weights.sum() / spread))
    return float(np.mean(found))
