"""How often a shift is reported where there is none, and how soon a true shift is found.

A history has a reference and 12 windows of images of patients. Images of a patient share half of the variance
of each feature, and features are correlated. Two of the eight features are rates (0 or 1), such as refusal.
The rules before are Kolmogorov-Smirnov tests of each feature, with Bonferroni's correction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats
from threadpoolctl import threadpool_limits

from melanoma.monitoring import shift
from tests.simulations.rows import Row

ALPHA, NUM_WINDOWS, MIN_EFFECT = 0.05, 12, 0.05
NUM_REFERENCE, NUM_WINDOW = 200, 50  # patients
MOST_IMAGES = 6  # of a patient
NUM_FEATURES = 8
RATES = {"refer": 0.2, "refusal": 0.05}  # the last features, with their mean
SHIFTED = 0  # feature
STRENGTHS = (0.25, 0.5, 1.0)  # in standard deviations of an image
MAX_HISTORIES, MAX_SHIFTED_HISTORIES = 1_000, 200
NAMES = [*(f"feature {number}" for number in range(NUM_FEATURES - len(RATES))), *RATES]
FALSE_ALARMS = f"shift: histories of {NUM_WINDOWS} windows with a false alarm"
DELAY = "shift: median number of windows until the alarm and share of histories with one"
TRUTH = f"{NUM_REFERENCE} patients in the reference, {NUM_WINDOW} in a window, 1 to {MOST_IMAGES} images each"


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
    def draw(cls, generator: np.random.Generator, num_patients: int, *, strength: float = 0) -> "Images":
        """Images of new patients; the first feature is shifted by `strength` standard deviations."""
        num_images = generator.integers(1, MOST_IMAGES + 1, num_patients)
        of_patient = np.repeat(np.arange(num_patients), num_images)
        ids = generator.integers(2**62, size=num_patients)[of_patient]
        values = (
            _correlated(generator, num_patients)[of_patient] + _correlated(generator, len(ids))
        ) / 2**0.5
        values[:, SHIFTED] += strength
        features = pd.DataFrame(values, columns=NAMES)
        for name, rate in RATES.items():
            features[name] = features[name] > stats.norm.isf(rate)
        return cls(features, ids)

    def first_of_patients(self) -> "Images":
        """The first image of each patient."""
        rows = np.unique(self.patient_ids, return_index=True)[1]
        return Images(self.features.iloc[rows], self.patient_ids[rows])


def _correlated(generator: np.random.Generator, num: int) -> np.ndarray:
    """Standard normal features with correlation 0.3, shape `(num, NUM_FEATURES)`."""
    shared, own = generator.normal(size=(num, 1)), generator.normal(size=(num, NUM_FEATURES))
    return np.sqrt(0.3) * shared + np.sqrt(0.7) * own


Rule = Callable[[Images, Images], bool]  # whether the second is called shifted against the first


def permutation_rule(reference: Images, window: Images) -> bool:
    """The rule of this project."""
    found = shift.compare(
        reference.features,
        window.features,
        reference.patient_ids,
        window.patient_ids,
        alpha=ALPHA,
        num_windows=NUM_WINDOWS,
        min_effect=MIN_EFFECT,
        seed=0,
    )
    return found.is_alarm


def monthly_rule(reference: Images, window: Images) -> bool:
    """Kolmogorov-Smirnov tests of all images, corrected for the features of a window."""
    return _smallest_p_value(reference, window) <= ALPHA / NUM_FEATURES


def corrected_rule(reference: Images, window: Images) -> bool:
    """Kolmogorov-Smirnov tests of all images, corrected for all features of all windows."""
    return _smallest_p_value(reference, window) <= ALPHA / NUM_FEATURES / NUM_WINDOWS


def one_image_rule(reference: Images, window: Images) -> bool:
    """As `corrected_rule`, with the first image of each patient only."""
    return corrected_rule(reference.first_of_patients(), window.first_of_patients())


def _smallest_p_value(reference: Images, window: Images) -> float:
    sides = (reference.features.astype(float), window.features.astype(float))
    return min(float(stats.ks_2samp(*(side[name] for side in sides)).pvalue) for name in NAMES)


FORMER_RULES: dict[Rule, str] = {
    monthly_rule: "KS tests, corrected for features",
    corrected_rule: "KS tests, corrected for features and windows",
    one_image_rule: "the same, one image per patient",
}


def first_alarm(rule: Rule, *, strength: float, seeds: tuple[int, ...]) -> float:
    """Number of the first window, from 1, that is called shifted in a history; infinite if none is.

    Args:
        rule: Rule of alarm.
        strength: Shift of all windows, in standard deviations.
        seeds: Seeds of the history; the same ones give the same images for every rule.
    """
    generator = np.random.default_rng(seeds)
    reference = Images.draw(generator, NUM_REFERENCE)
    for number in range(1, NUM_WINDOWS + 1):
        if rule(reference, Images.draw(generator, NUM_WINDOW, strength=strength)):
            return number
    return float("inf")


@threadpool_limits.wrap(limits=1)
def simulate(num: int, seed: int) -> list[Row]:
    """False alarms over histories without a shift, and the delay of the alarm if all windows are shifted.

    There are at most `MAX_HISTORIES` histories without a shift, and `MAX_SHIFTED_HISTORIES` per strength.
    """
    return [
        *false_alarm_rows(min(num, MAX_HISTORIES), seed),
        *delay_rows(min(num, MAX_SHIFTED_HISTORIES), seed),
    ]


def false_alarm_rows(num: int, seed: int) -> list[Row]:
    """Share of histories without a shift that have an alarm, one row per former rule."""
    rules = (permutation_rule, *FORMER_RULES)
    found = [np.isfinite(first_alarms(rule, strength=0, num=num, seed=seed)).mean() for rule in rules]
    return [
        Row(FALSE_ALARMS, TRUTH, f"at most {ALPHA}", f"{share:.3f} ({words})", f"{found[0]:.3f}")
        for share, words in zip(found[1:], FORMER_RULES.values(), strict=True)
    ]


def delay_rows(num: int, seed: int) -> list[Row]:
    """Number of windows until the alarm, one row per strength of the shift and former rule."""
    rows = []
    for strength in STRENGTHS:
        truth = f"one feature shifted by {strength} standard deviations"
        delays = partial(first_alarms, strength=strength, num=num, seed=seed)
        after = _delay_in_words(delays(permutation_rule))
        for rule, words in FORMER_RULES.items():
            rows.append(Row(DELAY, truth, "1", f"{_delay_in_words(delays(rule))} ({words})", after))
    return rows


def first_alarms(rule: Rule, *, strength: float, num: int, seed: int) -> np.ndarray:
    """`first_alarm` of `num` histories."""
    return np.array([first_alarm(rule, strength=strength, seeds=(seed, number)) for number in range(num)])


def _delay_in_words(found: np.ndarray) -> str:
    """`3, 0.95`: the median over all histories, and the share with an alarm."""
    median = np.median(found)
    words = f"{median:.0f}" if np.isfinite(median) else f"above {NUM_WINDOWS}"
    return f"{words}, {np.isfinite(found).mean():.2f}"
