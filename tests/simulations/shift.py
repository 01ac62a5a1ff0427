"""How often a shift is reported where there is none, and how soon a planted shift is found.

A history has a reference and 12 windows of images of patients. Images of a patient share half of the variance
of each feature, and features are correlated. The features are those of `monitoring.windows`; two are rates
(0 or 1). Other rules are Kolmogorov-Smirnov tests of each feature, with Bonferroni's correction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from threadpoolctl import threadpool_limits

from melanoma.monitoring import shift
from tests.simulations.rows import Row

ALPHA, NUM_WINDOWS, MIN_EFFECT = 0.05, 12, 0.05  # as in params.yaml: monitor
NUM_REFERENCE, NUM_WINDOW = 150, 40  # patients
MOST_IMAGES = 6  # of a patient
FACTS = ["sharpness", "brightness", "contrast", "saturation", "clipped_fraction"]
AXES = [f"embedding_axis_{number}" for number in range(1, 5)]
RATES = {"referred": 0.2, "refused": 0.05}  # with their mean
NAMES = ["score", *FACTS, *AXES, *RATES]
STRENGTHS = (0.1, 0.25, 0.5, 1.0)  # in standard deviations of an image
# By how many strengths a feature moves. A rate moves as its normal score does.
SHIFTS: dict[str, dict[str, float]] = {
    "one image fact (brightness)": {"brightness": 1},
    "two image facts (sharpness, contrast)": {"sharpness": -1, "contrast": -1},
    "colour cast (brightness, saturation, clipping)": {
        "brightness": -1,
        "saturation": 1,
        "clipped_fraction": 1,
    },
    "score": {"score": 1},
    "rate of referred images": {"referred": 1},
    "embedding, by this length along all axes": dict.fromkeys(AXES, len(AXES) ** -0.5),
}
MAX_HISTORIES, MAX_SHIFTED_HISTORIES = 1_000, 40
FALSE_ALARMS = f"shift: histories of {NUM_WINDOWS} windows with a false alarm"
DELAY = "shift: window of the alarm (median and its 95 % interval), histories with one (95 % interval)"
TRUTH = (
    f"{len(NAMES)} features; {NUM_REFERENCE} patients in the reference, {NUM_WINDOW} in a window, "
    f"1 to {MOST_IMAGES} images each"
)


@dataclass(frozen=True)
class Images:
    """Images of patients.

    Attributes:
        features: One row per image.
        patient_ids: Shape `(num_images,)`.
    """

    features: pd.DataFrame
    patient_ids: np.ndarray

    @classmethod
    def draw(
        cls, generator: np.random.Generator, num_patients: int, *, shifted: str = "", strength: float = 0
    ) -> "Images":
        """Images of new patients, shifted as `SHIFTS` says by `strength` standard deviations."""
        num_images = generator.integers(1, MOST_IMAGES + 1, num_patients)
        of_patient = np.repeat(np.arange(num_patients), num_images)
        ids = generator.integers(2**62, size=num_patients)[of_patient]
        values = (
            _correlated(generator, num_patients)[of_patient] + _correlated(generator, len(ids))
        ) / 2**0.5
        for name, factor in SHIFTS.get(shifted, {}).items():
            values[:, NAMES.index(name)] += factor * strength
        for name, rate in RATES.items():
            values[:, NAMES.index(name)] = values[:, NAMES.index(name)] > stats.norm.isf(rate)
        return cls(pd.DataFrame(values, columns=NAMES), ids)

    def first_of_patients(self) -> "Images":
        """The first image of each patient."""
        rows = np.unique(self.patient_ids, return_index=True)[1]
        return Images(self.features.iloc[rows], self.patient_ids[rows])


def _correlated(generator: np.random.Generator, num: int) -> np.ndarray:
    """Standard normal features with correlation 0.3, shape `(num, num_features)`."""
    shared, own = generator.normal(size=(num, 1)), generator.normal(size=(num, len(NAMES)))
    return np.sqrt(0.3) * shared + np.sqrt(0.7) * own


Rule = Callable[[Images, Images], bool]  # whether the second is called shifted against the first


def permutation_rule(reference: Images, window: Images) -> bool:
    """The rule of this project.

    Most windows are cleared with 400 permutations, because that is fast: a p-value that is at most 0.05 / 12
    with 4,800 is above 0.05 with 400 in less than one of a million cases.
    """
    return _compare(reference, window, num_windows=1).p_value <= ALPHA and (
        _compare(reference, window, num_windows=NUM_WINDOWS).is_alarm
    )


def _compare(reference: Images, window: Images, *, num_windows: int) -> shift.Shift:
    return shift.compare(
        reference.features,
        window.features,
        reference.patient_ids,
        window.patient_ids,
        alpha=ALPHA,
        num_windows=num_windows,
        min_effect=MIN_EFFECT,
        seed=0,
    )


def monthly_rule(reference: Images, window: Images) -> bool:
    """Kolmogorov-Smirnov tests of all images, corrected for the features of a window."""
    return _smallest_p_value(reference, window) <= ALPHA / len(reference.features.columns)


def corrected_rule(reference: Images, window: Images) -> bool:
    """Kolmogorov-Smirnov tests of all images, corrected for all features of all windows."""
    return _smallest_p_value(reference, window) <= ALPHA / len(reference.features.columns) / NUM_WINDOWS


def one_image_rule(reference: Images, window: Images) -> bool:
    """As `corrected_rule`, with the first image of each patient only."""
    return corrected_rule(reference.first_of_patients(), window.first_of_patients())


def _smallest_p_value(reference: Images, window: Images) -> float:
    """That of the feature with the largest distance, because all have the same number of values."""
    sides = [side.features.to_numpy(dtype=float) for side in (reference, window)]
    columns = [(sides[0][:, at], sides[1][:, at]) for at in range(sides[0].shape[1])]
    return float(stats.ks_2samp(*max(columns, key=lambda both: _largest_distance(*both))).pvalue)


def _largest_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference of the two empirical distribution functions."""
    at = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(each), at, side="right") / len(each) for each in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


OTHER_RULES: dict[Rule, str] = {
    monthly_rule: "KS tests, corrected for features",
    corrected_rule: "KS tests, corrected for features and windows",
    one_image_rule: "KS tests of one image per patient, corrected for features and windows",
}
RULES_WITH_DELAY: tuple[Rule, ...] = (permutation_rule, monthly_rule, one_image_rule)


def history(
    seeds: tuple[int, ...], *, shifted: str = "", strength: float = 0
) -> tuple[Images, Sequence[Images]]:
    """A reference and windows that are all shifted, see `SHIFTS`; the same seeds give the same images."""
    generator = np.random.default_rng(seeds)
    reference = Images.draw(generator, NUM_REFERENCE)
    windows = [
        Images.draw(generator, NUM_WINDOW, shifted=shifted, strength=strength) for _ in range(NUM_WINDOWS)
    ]
    return reference, windows


def first_alarm(rule: Rule, reference: Images, windows: Sequence[Images]) -> float:
    """Number of the first window, from 1, that is called shifted; infinite if none is."""
    for number, window in enumerate(windows, start=1):
        if rule(reference, window):
            return number
    return float("inf")


@threadpool_limits.wrap(limits=1)
def simulate(num: int, seed: int) -> list[Row]:
    """False alarms over histories without a shift, and the delay of the alarm if all windows are shifted.

    At most `MAX_HISTORIES` histories are without a shift, and `MAX_SHIFTED_HISTORIES` have each planted one.
    """
    quiet = [quiet_alarms((seed, at)) for at in range(min(num, MAX_HISTORIES))]
    rows = false_alarm_rows(np.array(quiet))
    for shifted in SHIFTS:
        for strength in STRENGTHS:
            seeds = [(seed, at) for at in range(min(num, MAX_SHIFTED_HISTORIES))]
            found = [shifted_alarms(shifted, strength, each) for each in seeds]
            rows.append(delay_row(np.array(found), f"{shifted}: {strength:g} standard deviations"))
    return rows


def quiet_alarms(seeds: tuple[int, ...]) -> list[float]:
    """`first_alarm` of this project's rule and of all others in a history without a shift."""
    reference, windows = history(seeds)
    return [first_alarm(rule, reference, windows) for rule in (permutation_rule, *OTHER_RULES)]


def shifted_alarms(shifted: str, strength: float, seeds: tuple[int, ...]) -> list[float]:
    """`first_alarm` of `RULES_WITH_DELAY` in a history with a shift."""
    reference, windows = history(seeds, shifted=shifted, strength=strength)
    return [first_alarm(rule, reference, windows) for rule in RULES_WITH_DELAY]


def false_alarm_rows(found: np.ndarray) -> list[Row]:
    """Share of histories with an alarm, one row per other rule.

    Args:
        found: Results of `quiet_alarms`, shape `(num_histories, 1 + num_other_rules)`.
    """
    shares = np.isfinite(found).mean(axis=0)
    return [
        Row(FALSE_ALARMS, TRUTH, f"at most {ALPHA}", f"{share:.3f} ({words})", f"{shares[0]:.3f}")
        for share, words in zip(shares[1:], OTHER_RULES.values(), strict=True)
    ]


def delay_row(found: np.ndarray, truth: str, *, nominal: str = "1") -> Row:
    """Windows until the alarm.

    Args:
        found: Results of `shifted_alarms`, shape `(num_histories, num_rules)`.
        truth: What is planted.
        nominal: Window in which an alarm is wanted.
    """
    mine, *others = (delay_in_words(column) for column in found.T)
    names = (OTHER_RULES[rule] for rule in RULES_WITH_DELAY[1:])
    before = "; ".join(f"{words} ({name})" for words, name in zip(others, names, strict=True))
    return Row(DELAY, truth, nominal, before, mine)


def delay_in_words(found: np.ndarray) -> str:
    """`3 (2 to 4), 0.95 (0.91 to 0.97)`: the median over all histories, and the share with an alarm."""
    places = stats.binom.ppf((0.5, 0.025, 0.975), len(found), 0.5).astype(int)
    middle, least, most = np.sort(found)[np.minimum(places, len(found) - 1)]
    is_found = np.isfinite(found)
    low, high = proportion_confint(is_found.sum(), len(found), method="wilson")
    window = f"{_window(middle)} ({_window(least)} to {_window(most)})"
    return f"{window}, {is_found.mean():.2f} ({low:.2f} to {high:.2f})"


def _window(number: float) -> str:
    return f"{number:.0f}" if np.isfinite(number) else "never"
