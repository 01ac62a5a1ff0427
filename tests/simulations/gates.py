"""Gates of promotion where the truth is known: who passes, who is refused, and where a series of models goes.

Scores are normal within each class; images of a group share half of their variance, and two models share half
of theirs. The former rules were: the percentile bootstrap's lower end of the AUC's difference must not lie
below the margin, whatever the number of groups and attempts; the network must have a higher AUC than the
reference; the smallest AUC of all slices must reach the bound.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from threadpoolctl import threadpool_limits

from melanoma.evaluation import comparisons, intervals
from tests.simulations.rows import Row

MARGIN = 0.05
MIN_GROUPS = 50
CHAMPION_AUC = 0.85
NUM_ATTEMPTS = 20
STEP = MARGIN / 5
NUM_DRAWS = 200
SLICE_BOUND, NUM_SLICES = 0.5, 20
PASSES_ONCE = "gate on the champion: a challenger worse by the margin passes"
PASSES_EVER = f"the same: one of {NUM_ATTEMPTS} challengers worse by the margin passes on the same images"
NEAR_ONE = "the same, near an AUC of 1"
FEW_GROUPS = "the same, few groups"
EQUAL = "the same: an equal challenger passes (what caution costs)"
CREEPS = f"AUC lost after {NUM_ATTEMPTS} challengers in turn, each {STEP:g} below the model in use"
EQUAL_REFERENCE = "gate on references: a network equal to the reference passes"
EQUAL_REFERENCE_EVER = (
    f"the same: one of {NUM_ATTEMPTS} networks equal to the reference passes on the same images"
)
SLICES = "gate on slices: a model with this AUC in every slice is refused"


@dataclass(frozen=True)
class Images:
    """The images of a test set, and what all models see in them.

    Attributes:
        target: Shape `(num_images,)`, 0 or 1.
        group_ids: Shape `(num_images,)`, from 0.
        shared: Part of the scores that models share, shape `(num_images,)`.
    """

    target: np.ndarray
    group_ids: np.ndarray
    shared: np.ndarray

    @classmethod
    def draw(cls, generator: np.random.Generator, num_malignant: int, num_benign: int) -> "Images":
        """Groups of one to three images of one class."""
        target_of = np.repeat([1, 0], [num_malignant, num_benign])
        group_ids = np.repeat(np.arange(len(target_of)), generator.integers(1, 4, len(target_of)))
        return cls(target_of[group_ids], group_ids, _within_groups(generator, group_ids))

    def score(self, generator: np.random.Generator, auc: float) -> np.ndarray:
        """Scores of another model whose true AUC is `auc`."""
        own = _within_groups(generator, self.group_ids)
        shift = np.sqrt(2) * stats.norm.ppf(auc)
        return np.asarray(shift * self.target + (self.shared + own) / np.sqrt(2))


def _within_groups(generator: np.random.Generator, group_ids: np.ndarray) -> np.ndarray:
    """Standard normal values, of which images of a group share half of the variance."""
    of_group = generator.normal(size=group_ids.max() + 1)[group_ids]
    return np.asarray((of_group + generator.normal(size=len(group_ids))) / np.sqrt(2))


def passed_before(images: Images, first: np.ndarray, second: np.ndarray, seed: int) -> bool:
    """Whether the percentile bootstrap over groups excludes a loss of more than the margin."""
    leads_of_pairs, num_pairs = _by_group(images, first) - _by_group(images, second), _by_group(images)
    num_malignant, num_benign = num_pairs.shape
    num_groups = num_malignant + num_benign
    shares = np.full(num_groups, 1 / num_groups)
    times = np.random.default_rng(seed).multinomial(num_groups, shares, size=NUM_DRAWS).astype(float)
    malignant, benign = times[:, :num_malignant], times[:, num_malignant:]
    leads, counts = (((malignant @ pairs) * benign).sum(1) for pairs in (leads_of_pairs, num_pairs))
    return bool(np.percentile(leads[counts > 0] / counts[counts > 0], 2.5) >= -MARGIN)


def _by_group(images: Images, score: np.ndarray | None = None) -> np.ndarray:
    """Pairs in order of each positive with each negative group, or all their pairs if there is no score."""
    is_malignant = images.target == 1
    of_malignant, of_benign = images.group_ids[is_malignant], images.group_ids[~is_malignant]
    in_order = np.ones((len(of_malignant), len(of_benign)))
    if score is not None:
        in_order = (np.sign(score[is_malignant][:, None] - score[~is_malignant]) + 1) / 2
    starts = [np.flatnonzero(np.diff(groups, prepend=-1)) for groups in (of_malignant, of_benign)]
    return np.add.reduceat(np.add.reduceat(in_order, starts[0], axis=0), starts[1], axis=1)


def lower_end(images: Images, first: np.ndarray, second: np.ndarray, attempt: int) -> float:
    """Lower end of the paired interval at the level of an attempt."""
    level = comparisons.level_of(attempt)
    found = intervals.auc_difference(images.target, first, second, images.group_ids, level=level)
    return float(found["low"])


def simulate(num: int, seed: int) -> list[Row]:
    """Simulate promotions.

    Args:
        num: Number of promotions per rule; a series of challengers counts as ten.
        seed: Seed of all draws.
    """
    with threadpool_limits(1):  # small matrices: threads would wait more than work
        return _simulate(num, seed)


def _simulate(num: int, seed: int) -> list[Row]:
    worse, equal = CHAMPION_AUC - MARGIN, CHAMPION_AUC
    return [
        _passes(PASSES_ONCE, worse, MIN_GROUPS, num=num, seed=seed, nominal="at most 0.05"),
        _passes(NEAR_ONE, 0.9, MIN_GROUPS, champion=0.95, num=num, seed=seed, nominal="at most 0.05"),
        _passes(FEW_GROUPS, worse, 8, num=num, seed=seed, nominal="at most 0.05"),
        _passes(EQUAL, equal, 200, num=num, seed=seed, nominal="high"),
        _passes_ever(num=max(1, num // 2), seed=seed),
        _creeps(num=max(1, num // 10), seed=seed),
        _equal_reference(num=num, seed=seed),
        _equal_reference_ever(num=max(1, num // 2), seed=seed),
        _slices(num=max(1, num // 4), seed=seed),
    ]


def _passes(
    rule: str,
    auc: float,
    num_malignant: int,
    *,
    num: int,
    seed: int,
    nominal: str,
    champion: float = CHAMPION_AUC,
) -> Row:
    before, after = np.zeros(num, bool), np.zeros(num, bool)
    for at in range(num):
        generator = np.random.default_rng([seed, num_malignant, at])
        images = Images.draw(generator, num_malignant, 3 * num_malignant)
        holder, challenger = images.score(generator, champion), images.score(generator, auc)
        before[at] = passed_before(images, challenger, holder, at)
        is_enough = num_malignant >= MIN_GROUPS
        after[at] = is_enough and lower_end(images, challenger, holder, 1) >= -MARGIN
    truth = f"{auc:.2f} against {champion:.2f}, margin {MARGIN}, {num_malignant} positive groups"
    return Row(rule, truth, nominal, f"{before.mean():.3f}", f"{after.mean():.3f}")


def _passes_ever(*, num: int, seed: int) -> Row:
    before, after = np.zeros(num, bool), np.zeros(num, bool)
    for at in range(num):
        generator = np.random.default_rng([seed, 20, at])
        images = Images.draw(generator, MIN_GROUPS, 3 * MIN_GROUPS)
        champion = images.score(generator, CHAMPION_AUC)
        for attempt in range(1, NUM_ATTEMPTS + 1):
            challenger = images.score(generator, CHAMPION_AUC - MARGIN)
            before[at] |= passed_before(images, challenger, champion, at)
            after[at] |= lower_end(images, challenger, champion, attempt) >= -MARGIN
    truth = f"{CHAMPION_AUC - MARGIN:.2f} against {CHAMPION_AUC}, {MIN_GROUPS} positive groups"
    return Row(PASSES_EVER, truth, "at most 0.05", f"{before.mean():.3f}", f"{after.mean():.3f}")


def _creeps(*, num: int, seed: int) -> Row:
    """Each challenger is `STEP` worse than the model in use, which is a fifth of the margin."""
    lost_before, lost_after = np.zeros(num), np.zeros(num)
    for at in range(num):
        generator = np.random.default_rng([seed, 30, at])
        images = Images.draw(generator, 200, 400)
        first = images.score(generator, CHAMPION_AUC)
        champion = first
        for _ in range(NUM_ATTEMPTS):
            challenger = images.score(generator, CHAMPION_AUC - lost_before[at] - STEP)
            if passed_before(images, challenger, champion, at):
                champion, lost_before[at] = challenger, lost_before[at] + STEP
        lost_after[at] = _lost_with_anchor(generator, images, first)
    truth = f"first AUC {CHAMPION_AUC}, 200 positive groups"
    return Row(CREEPS, truth, f"at most {MARGIN}", _lost_in_words(lost_before), _lost_in_words(lost_after))


def _lost_in_words(lost: np.ndarray) -> str:
    beyond = np.mean(lost > MARGIN + STEP / 2)
    return f"{lost.mean():.3f} on average, beyond the margin in {100 * beyond:.0f} %"


def _lost_with_anchor(generator: np.random.Generator, images: Images, first: np.ndarray) -> float:
    anchor = champion = first
    lost = 0.0
    for attempt in range(1, NUM_ATTEMPTS + 1):
        challenger = images.score(generator, CHAMPION_AUC - lost - STEP)
        ends = [lower_end(images, challenger, rival, attempt) for rival in (champion, anchor)]
        if min(ends) >= -MARGIN:
            champion, lost = challenger, lost + STEP
            anchor = challenger if ends[1] > 0 else anchor
    return lost


def _equal_reference(*, num: int, seed: int) -> Row:
    before, after = np.zeros(num, bool), np.zeros(num, bool)
    for at in range(num):
        generator = np.random.default_rng([seed, 40, at])
        images = Images.draw(generator, 20, 60)
        network, reference = (images.score(generator, 0.8) for _ in range(2))
        before[at] = _lead(images, network, reference) > 0
        after[at] = lower_end(images, network, reference, 1) > 0
    truth = "both 0.80, 20 positive groups"
    return Row(EQUAL_REFERENCE, truth, "at most 0.030", f"{before.mean():.3f}", f"{after.mean():.3f}")


def _lead(images: Images, first: np.ndarray, second: np.ndarray) -> float:
    found = intervals.auc_difference(images.target, first, second, images.group_ids)
    return float(found["value"])


def _equal_reference_ever(*, num: int, seed: int) -> Row:
    before, after = np.zeros(num, bool), np.zeros(num, bool)
    for at in range(num):
        generator = np.random.default_rng([seed, 45, at])
        images = Images.draw(generator, 20, 60)
        reference = images.score(generator, 0.8)
        for attempt in range(1, NUM_ATTEMPTS + 1):
            network = images.score(generator, 0.8)
            before[at] |= _lead(images, network, reference) > 0
            after[at] |= lower_end(images, network, reference, attempt) > 0
    truth = "both 0.80, 20 positive groups"
    return Row(EQUAL_REFERENCE_EVER, truth, "at most 0.05", f"{before.mean():.3f}", f"{after.mean():.3f}")


def _slices(*, num: int, seed: int) -> Row:
    auc, level = 0.7, 1 - 0.05 / NUM_SLICES
    before, after = np.zeros(num, bool), np.zeros(num, bool)
    for at in range(num):
        generator = np.random.default_rng([seed, 50, at])
        for _ in range(NUM_SLICES):
            images = Images.draw(generator, 10, 10)
            found = intervals.auc(images.target, images.score(generator, auc), images.group_ids, level=level)
            before[at] |= found["value"] < SLICE_BOUND
            after[at] |= found["high"] < SLICE_BOUND
    truth = f"{auc} in {NUM_SLICES} slices of 10 positive groups, bound {SLICE_BOUND}"
    return Row(SLICES, truth, "at most 0.025", f"{before.mean():.3f}", f"{after.mean():.3f}")
