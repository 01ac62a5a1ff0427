"""How often 95 % intervals of rates, AUCs and their differences cover the truth."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import stats

from melanoma.evaluation.bootstrap import MIN_MALIGNANT_GROUPS, SPECIFICITY, draw_weights, interval, restated
from melanoma.evaluation.intervals import Entry, auc, auc_difference, rate
from melanoma.evaluation.metrics import at_prevalence, compute_metrics
from tests.simulations.rows import Row

NUM_DRAWS = 200  # of the bootstrap that was used before
MAX_BOOTSTRAPPED = 300  # data sets; more would take hours
LOW_PREVALENCE = 0.02
Measure = Callable[[np.ndarray], np.ndarray]  # from weights (num_draws, num_images) to (num_draws,)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is simulated.

    Attributes:
        areas: True AUC of each of two models.
        malignant: Number of groups of malignant images.
        benign: Number of groups of benign images.
        largest: Groups have 1 to this many images.
        same: Correlation of a model's scores within groups, beyond the class.
        mixed: Share of the groups in which half of the images change their class.
    """

    areas: tuple[float, float]
    malignant: int
    benign: int
    largest: int = 1
    same: float = 0.0
    mixed: float = 0.0

    def __str__(self) -> str:
        groups = f"{self.malignant} positive and {self.benign} negative groups {_size(self.largest)}"
        return f"{groups}, correlation {self.same:g}" + ", half with both classes" * (self.mixed > 0)


RATES = (  # true rate, number of groups, largest group, correlation within groups
    (0.99, 98, 1, 0.0),
    (0.95, 8, 1, 0.0),
    (0.995, 500, 6, 0.9),
    (0.9, 50, 6, 1.0),
    (0.8, 20, 6, 0.5),
    (0.5, 8, 6, 1.0),
)
AREAS = (
    Truth(areas=(0.6, 0.6), malignant=20, benign=80, largest=6, same=0.8, mixed=0.5),
    Truth(areas=(0.8, 0.8), malignant=8, benign=32),
    Truth(areas=(0.9, 0.9), malignant=50, benign=200, largest=6, same=0.8),
    Truth(areas=(0.95, 0.95), malignant=8, benign=32, largest=6, same=0.8),
    Truth(areas=(0.99, 0.99), malignant=20, benign=80),
    Truth(areas=(0.99, 0.99), malignant=98, benign=260, largest=6, same=1),
)
DIFFERENCES = (
    Truth(areas=(0.8, 0.8), malignant=20, benign=80, largest=6, same=0.8),
    Truth(areas=(0.9, 0.8), malignant=20, benign=80),
    Truth(areas=(0.95, 0.9), malignant=60, benign=240, largest=6, same=0.8),
    Truth(areas=(0.99, 0.95), malignant=8, benign=32),
)
LOOSE = Truth(areas=(0.9, 0.85), malignant=60, benign=240, largest=6)  # images of a group are independent
SPECIFICITIES = (
    Truth(areas=(0.9, 0.9), malignant=60, benign=240),
    Truth(areas=(0.9, 0.9), malignant=100, benign=400, largest=6, same=0.8),
)
FEW = Truth(areas=(0.9, 0.9), malignant=20, benign=80)


@dataclass(frozen=True)
class Images:
    """Simulated images: target, scores of two models, and groups."""

    target: np.ndarray
    first: np.ndarray
    second: np.ndarray
    group_ids: np.ndarray

    def measure(self, metric: str, model: str = "first") -> Measure:
        """The metric of a model as function of weights."""
        return partial(_metric, self.target, getattr(self, model), metric)


def _metric(target: np.ndarray, score: np.ndarray, metric: str, weights: np.ndarray) -> np.ndarray:
    return compute_metrics(target, score, threshold=0.5, weights=weights)[metric]


class Tally:
    """Counts how often both rules cover a truth."""

    def __init__(self, truth: float) -> None:
        self.truth = truth
        self.after: list[bool] = []
        self.before: list[bool] = []

    def add(self, entry: Entry | None, measure: Measure, group_ids: np.ndarray) -> None:
        """Count the interval `entry` and, for the first data sets, the percentile bootstrap of `measure`."""
        if entry is not None:
            self.after.append(_covers(entry, self.truth))
        if len(self.before) < MAX_BOOTSTRAPPED:
            self.before.append(_bootstrap_covers(measure, group_ids, self.truth))

    def row(self, rule: str, where: str) -> Row:
        """The share of data sets on which each rule covers the truth."""
        before, after = (f"{np.mean(found):.2f}" if found else "" for found in (self.before, self.after))
        return Row(f"{rule}: coverage", where, "0.95", before=before, after=after)


def simulate(num: int, seed: int) -> list[Row]:
    """Coverage by kind of interval and truth; `before` is the percentile bootstrap over groups."""
    generator = np.random.default_rng(seed)
    rows = [rate_row(generator, num, truth) for truth in RATES]
    rows += [_auc_row(generator, num, truth) for truth in AREAS]
    rows += [_difference_row(generator, num, truth) for truth in DIFFERENCES]
    rows += [width_row(generator, num), _npv_row(generator, num)]
    return [*rows, *_specificity_rows(generator, num)]


def rate_row(generator: np.random.Generator, num: int, settings: tuple[float, int, int, float]) -> Row:
    """Coverage for one of `RATES`."""
    truth, num_groups, largest, same = settings
    tally = Tally(truth)
    for _ in range(num):
        group_ids = groups(generator, num_groups, largest)
        hit = hits(generator, truth, group_ids, same)
        tally.add(rate(hit, group_ids), partial(_share, hit), group_ids)
    where = f"{truth:g}, {num_groups} groups {_size(largest)}, correlation {same:g}"
    return tally.row("rate", where)


def _share(hit: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray((weights @ hit) / weights.sum(1))


def _auc_row(generator: np.random.Generator, num: int, truth: Truth) -> Row:
    area = truth.areas[0]
    tally = Tally(area)
    for _ in range(num):
        images = draw(generator, truth)
        found = auc(images.target, images.first, images.group_ids)
        tally.add(found, images.measure("auc_roc"), images.group_ids)
    return tally.row("AUC", f"{area:g}, {truth}")


def _difference_row(generator: np.random.Generator, num: int, truth: Truth) -> Row:
    tally = Tally(truth.areas[0] - truth.areas[1])
    for _ in range(num):
        images = draw(generator, truth)
        found = auc_difference(images.target, images.first, images.second, images.group_ids)
        tally.add(found, partial(_difference, images), images.group_ids)
    areas = " - ".join(f"{area:g}" for area in truth.areas)
    return tally.row("paired difference of AUCs", f"{areas}, {truth}")


def width_row(generator: np.random.Generator, num: int) -> Row:
    """Whether the standard error of a difference is the spread of the differences in large, loose groups."""
    entries = []
    for _ in range(num):
        images = draw(generator, LOOSE)
        entries.append(auc_difference(images.target, images.first, images.second, images.group_ids))
    spread = np.std([found["value"] for found in entries])
    ratio = np.mean([found["standard_error"] for found in entries]) / spread
    return Row("paired difference: standard error by true spread", str(LOOSE), "1", "-", f"{ratio:.2f}")


def _difference(images: Images, weights: np.ndarray) -> np.ndarray:
    one, other = (images.measure("auc_roc", model)(weights) for model in ("first", "second"))
    return one - other


def _specificity_rows(generator: np.random.Generator, num: int) -> list[Row]:
    """With few groups the bootstrap of `before` covers too little; there it is undefined now."""
    rows = []
    for truth in (FEW, *SPECIFICITIES):
        target = float(stats.norm.cdf(_shift(truth.areas[0]) - stats.norm.ppf(0.95)))
        tally = Tally(target)
        for _ in range(min(num, MAX_BOOTSTRAPPED)):
            images = draw(generator, truth)
            tally.add(None, images.measure(SPECIFICITY), images.group_ids)
        row = tally.row("specificity at 95 % sensitivity", f"{target:.2f}, {truth}")
        is_defined = truth.malignant >= MIN_MALIGNANT_GROUPS
        rows.append(replace(row, after=row.before if is_defined else "undefined"))
    return rows


def _npv_row(generator: np.random.Generator, num: int) -> Row:
    sensitivity, specificity = 0.95, 0.9
    truth = float(at_prevalence(np.array(sensitivity), np.array(specificity), LOW_PREVALENCE)["npv"])
    target, tally = np.repeat([1, 0], [30, 120]), Tally(truth)
    group_ids = np.arange(150)
    for _ in range(num):
        called = generator.random(150) < np.where(target == 1, sensitivity, 1 - specificity)
        probability = called.astype(float)
        (found,) = restated(target, probability, group_ids, threshold=0.5, prevalences=[LOW_PREVALENCE])
        tally.add(found["npv"], partial(_npv, target, called), group_ids)
    where = f"{truth:.3f}, 30 positive and 120 negative groups of 1"
    return tally.row(f"npv at a prevalence of {LOW_PREVALENCE:g}", where)


def _npv(target: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    found = [
        (weights @ (hit & of)) / (weights @ of) for hit, of in ((called, target == 1), (~called, target == 0))
    ]
    return at_prevalence(found[0], found[1], LOW_PREVALENCE)["npv"]


def draw(generator: np.random.Generator, truth: Truth) -> Images:
    """Normal scores of two models that correlate by 0.7."""
    num = truth.malignant + truth.benign
    group_ids = groups(generator, num, truth.largest)
    target = (group_ids < truth.malignant).astype(int)
    is_other = (generator.random(num) < truth.mixed)[group_ids] & (generator.random(len(group_ids)) < 0.5)
    target = np.where(is_other, 1 - target, target)

    def noise() -> np.ndarray:
        shared, own = generator.normal(size=num)[group_ids], generator.normal(size=len(group_ids))
        return np.asarray(np.sqrt(truth.same) * shared + np.sqrt(1 - truth.same) * own)

    first = noise()
    second = 0.7 * first + np.sqrt(1 - 0.7**2) * noise()
    first, second = (
        score + _shift(area) * target for score, area in zip((first, second), truth.areas, strict=True)
    )
    return Images(target, first, second, group_ids)


def _shift(area: float) -> float:
    """Distance of two normal distributions with this AUC."""
    return float(stats.norm.ppf(area) * np.sqrt(2))


def groups(generator: np.random.Generator, num: int, largest: int) -> np.ndarray:
    """Group of each image: `num` groups of 1 to `largest` images."""
    return np.repeat(np.arange(num), generator.integers(1, largest + 1, size=num))


def hits(generator: np.random.Generator, truth: float, group_ids: np.ndarray, same: float) -> np.ndarray:
    """Hits that correlate within groups: with probability `same` an image takes the answer of its group."""
    of_group = generator.random(group_ids.max() + 1) < truth
    is_same = generator.random(len(group_ids)) < np.sqrt(same)
    return np.where(is_same, of_group[group_ids], generator.random(len(group_ids)) < truth)


def _covers(entry: Entry, truth: float) -> bool:
    """An end that is undefined claims nothing and excludes nothing."""
    return not (entry["low"] > truth + 1e-12 or entry["high"] < truth - 1e-12)


def _bootstrap_covers(measure: Measure, group_ids: np.ndarray, truth: float) -> bool:
    """Whether the rule used before, percentiles of draws of groups, covers the truth."""
    with np.errstate(invalid="ignore"):
        low, high = interval(measure(draw_weights(group_ids, num_draws=NUM_DRAWS, seed=1)))
    return low - 1e-12 <= truth <= high + 1e-12


def _size(largest: int) -> str:
    return "of 1" if largest == 1 else f"of 1 to {largest}"
