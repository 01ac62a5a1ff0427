"""How often a few seeds, or repeated cross-validation, call one of two equal recipes better."""

import numpy as np
from scipy import stats

from melanoma.evaluation.intervals import auc_difference
from melanoma.evaluation.resampling import corrected_resampled_t
from tests.simulations.rows import Row

NUM_SEEDS = 3
NUM_GROUPS, NUM_FOLDS, NUM_REPEATS = 120, 5, 4
SHIFT = 1.2  # distance of the classes in standard deviations: an AUC of 0.8


def simulate(num: int, seed: int) -> list[Row]:
    """Share of studies that call a recipe better although both are equally good."""
    generator = np.random.default_rng(seed)
    return [*_seed_rows(generator, num), _folds_row(generator, num)]


def _seed_rows(generator: np.random.Generator, num: int) -> list[Row]:
    """Two recipes that are equally good on average over test sets and seeds, on one test set.

    The validation set favours one of them by chance, in all seeds alike. An interval over seeds takes this
    for a lead; the paired interval over test groups does not.
    """
    rows = []
    for malignant, benign in ((20, 80), (60, 240)):
        target = np.repeat([1, 0], [malignant, benign])
        groups, called = np.arange(len(target)), np.zeros(2)
        for _ in range(num):
            first, second = (_networks(generator, target) for _ in range(2))
            by_seed = np.array(
                [_auc(target, one) - _auc(target, other) for one, other in zip(first, second, strict=True)]
            )
            found = auc_difference(target, first, second, groups)
            called += _t_interval_excludes_zero(by_seed), found["low"] > 0 or found["high"] < 0
        where = f"equal recipes, {NUM_SEEDS} seeds, {malignant} positive and {benign} negative test groups"
        before, after = (f"{share:.2f}" for share in called / num)
        rows.append(Row("one recipe is called better", where, "at most 0.05", before=before, after=after))
    return rows


def _networks(generator: np.random.Generator, target: np.ndarray) -> np.ndarray:
    """Scores of the networks of one recipe: they share what the recipe sees and differ little by seed."""
    shared = generator.normal(SHIFT * target, 1)
    return shared + generator.normal(0, 0.3, size=(NUM_SEEDS, len(target)))


def _auc(target: np.ndarray, score: np.ndarray) -> float:
    pairs = score[target == 1][:, None] - score[target == 0]
    return float((pairs > 0).mean())


def _t_interval_excludes_zero(values: np.ndarray, extra: float = 0.0) -> bool:
    """Whether the 95 % t interval of a mean excludes 0, with `extra` added to the variance's 1 / number."""
    error = np.sqrt((1 / len(values) + extra) * values.var(ddof=1))
    return bool(abs(values.mean()) > stats.t.ppf(0.975, len(values) - 1) * error)


def _folds_row(generator: np.random.Generator, num: int) -> Row:
    """Repeated cross-validation of two least-squares classifiers of equally good features."""
    called = np.zeros(2)
    for _ in range(num):
        target = np.arange(NUM_GROUPS) % 2
        features = generator.normal(0.7 * target, size=(2, 6, NUM_GROUPS)).swapaxes(1, 2)
        differences = np.concatenate([_folds(generator, features, target) for _ in range(NUM_REPEATS)])
        num_test = NUM_GROUPS / NUM_FOLDS
        found = corrected_resampled_t(differences, num_test=num_test, num_train=NUM_GROUPS - num_test)
        called += _t_interval_excludes_zero(differences), found["low"] > 0 or found["high"] < 0
    where = f"equal recipes, {NUM_REPEATS} times {NUM_FOLDS}-fold cross-validation of {NUM_GROUPS} groups"
    before, after = (f"{share:.2f}" for share in called / num)
    return Row("one recipe is called better", where, "at most 0.05", before=before, after=after)


def _folds(generator: np.random.Generator, features: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Difference in accuracy of the two classifiers by fold."""
    fold_of = generator.permutation(NUM_GROUPS) % NUM_FOLDS
    found = [[_accuracy(own, target, fold_of == fold) for own in features] for fold in range(NUM_FOLDS)]
    return np.subtract(*np.transpose(found))


def _accuracy(features: np.ndarray, target: np.ndarray, is_test: np.ndarray) -> float:
    inputs = np.column_stack([np.ones(len(features)), features])
    weights = np.linalg.lstsq(inputs[~is_test], target[~is_test], rcond=None)[0]
    return float(((inputs[is_test] @ weights > 0.5) == target[is_test]).mean())
