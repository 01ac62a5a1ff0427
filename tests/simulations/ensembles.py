"""The mean of several networks: its calibration, fitted once on validation, and its threshold.

What is served is the mean of the networks' log odds. *Before* is what one might do instead: calibrate on the
scores of single networks for the training images that they did not see, which are more and cost no image.
The mean has less noise than one network, so its log odds deserve a larger slope.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from melanoma.evaluation import calibration, thresholds
from melanoma.evaluation.calibration_measures import INTERCEPT, OBSERVED_EXPECTED, SLOPE, FitError, measure
from melanoma.scoring.operating_point import Calibration, OperatingPoint
from tests.simulations.operating_point import ASKED, settings
from tests.simulations.rows import Row

NUM_NETWORKS = 5
GAP = 1.1  # distance of the two classes' log odds; an AUC of 0.76 for the mean
SHARED, OWN = 1.0, 0.8  # variance of the noise that all networks share, and of that of one network
PREVALENCE = 0.25
TRUTHS = (150, 400)  # groups of validation, and of test; the training side has four times as many
TRUE = {INTERCEPT: 0.0, SLOPE: 1.0, OBSERVED_EXPECTED: 1.0}


@dataclass(frozen=True)
class Images:
    """Images of one side, in groups of 1 to 3 that share their class and half of the noise."""

    target: np.ndarray
    score: np.ndarray
    group: np.ndarray

    @classmethod
    def draw(cls, drawn: np.random.Generator, num_groups: int, *, num_networks: int) -> "Images":
        """Images with the scores of the mean of `num_networks` networks."""
        group = np.repeat(np.arange(num_groups), drawn.integers(1, 4, num_groups))
        target = (drawn.random(num_groups) < PREVALENCE).astype(int)[group]
        noise = (drawn.normal(size=num_groups)[group] + drawn.normal(size=len(group))) / np.sqrt(2)
        log_odds = GAP * (target - 0.5) + np.sqrt(SHARED + OWN / num_networks) * noise
        return cls(target, expit(log_odds), group)


def simulate(num: int, seed: int) -> list[Row]:
    """All rows, from `num` data sets per truth."""
    return [row for num_groups in TRUTHS for row in rows_of(num, seed, num_groups=num_groups)]


def rows_of(num: int, seed: int, *, num_groups: int) -> list[Row]:
    """The rows of one truth."""
    drawn = np.random.default_rng([seed, num_groups])
    sets = [_one_set(drawn, num_groups) for _ in range(num)]
    averages, covered, reached = (np.mean(column, axis=0).T for column in zip(*sets, strict=True))
    truth = f"mean of {NUM_NETWORKS} networks; {num_groups} groups of 1 to 3 images on validation and on test"

    def row(what: str, nominal: str, pair: np.ndarray, of_first: str = "") -> Row:
        return Row(what, truth, nominal, f"{pair[0]:.3f}{of_first}", f"{pair[1]:.3f}")

    rows = [
        row(f"{_words(name)} of an ensemble: average", f"{true:g}", pair, " (single networks' scores)")
        for (name, true), pair in zip(TRUE.items(), averages, strict=True)
    ]
    rows += [
        row(f"{_words(name)} of an ensemble: coverage", "0.95", pair, " (test set alone)")
        for name, pair in zip(TRUE, covered, strict=True)
    ]
    return [
        *rows,
        row("sensitivity of an ensemble at its threshold", f"{ASKED:g}", reached[0]),
        row("specificity of an ensemble at its threshold", f"{_specificity_at(ASKED):.3f}", reached[1]),
        row("guaranteed sensitivity of an ensemble: sets where it holds", "0.95", reached[2]),
    ]


def _one_set(
    drawn: np.random.Generator, num_groups: int
) -> tuple[list[list[float]], list[list[bool]], list[tuple[float, float, bool]]]:
    """Values before and after, what intervals cover before and after, and `_rates` before and after."""
    validation, test = (Images.draw(drawn, num_groups, num_networks=NUM_NETWORKS) for _ in range(2))
    single = Images.draw(drawn, 4 * num_groups, num_networks=1)
    wrong, point = (_chosen(images) for images in (single, validation))
    fitted = FitError.of(
        validation.target, point.calibration.apply(validation.score), validation.group, method="logistic"
    )
    alone, both = _measured(test, point), _measured(test, point, fitted)
    averages = [[found[name]["value"] for name in TRUE] for found in (_measured(test, wrong), alone)]
    covered = [
        [found[name]["low"] <= true <= found[name]["high"] for name, true in TRUE.items()]
        for found in (alone, both)
    ]
    return averages, covered, [_rates(wrong), _rates(point)]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _chosen(images: Images) -> OperatingPoint:
    fitted = calibration.fit("logistic", images.target, images.score, trained_prevalence=0.5)
    return thresholds.choose(
        images.target,
        fitted.apply(images.score),
        images.group,
        calibration=fitted,
        settings=settings(None),
    )


def _measured(
    test: Images, point: OperatingPoint, fitted: FitError | None = None
) -> dict[str, dict[str, float]]:
    return measure(test.target, point.calibration.apply(test.score), test.group, fitted=fitted)


def _rates(point: OperatingPoint) -> tuple[float, float, bool]:
    """True sensitivity and specificity of the mean for images, and whether the guarantee for groups holds."""
    cut = _log_odds_at(point.calibration, point.threshold)
    spread = np.sqrt(SHARED + OWN / NUM_NETWORKS)
    sensitivity, below = norm.sf((cut - GAP / 2) / spread), norm.cdf((cut + GAP / 2) / spread)
    guaranteed = point.evidence["asked_and_got"]["threshold"]["guaranteed"]
    return sensitivity, below, _share_of_groups(cut) >= guaranteed


def _log_odds_at(fitted: Calibration, probability: float) -> float:
    return (np.log(probability / (1 - probability)) - fitted.intercept) / fitted.slope


def _specificity_at(sensitivity: float) -> float:
    return float(norm.cdf(GAP / np.sqrt(SHARED + OWN / NUM_NETWORKS) + norm.ppf(1 - sensitivity)))


def _share_of_groups(cut: float) -> float:
    """Share of positive groups of which every image lies at or above `cut`, by integration."""
    spread = np.sqrt((SHARED + OWN / NUM_NETWORKS) / 2)
    common = np.linspace(-8, 8, 2_001)
    of_one = norm.sf((cut - GAP / 2 - spread * common) / spread)
    mean = (of_one + of_one**2 + of_one**3) / 3
    return float(np.sum(mean * norm.pdf(common)) * (common[1] - common[0]))
