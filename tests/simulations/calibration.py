"""Calibration: intervals, the debiased error, what always says 0, and the prior of the decision curve."""

import numpy as np
from scipy.special import expit
from scipy.stats import norm
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from melanoma.evaluation import calibration
from melanoma.evaluation.calibration_curve import smooth
from melanoma.evaluation.calibration_measures import (
    INTERCEPT,
    NAMES,
    OBSERVED_EXPECTED,
    SKILL,
    SLOPE,
    measure,
)
from melanoma.evaluation.decision_curve import THRESHOLDS, decision_curve
from melanoma.evaluation.metrics import calibration_bins, compute_metrics
from melanoma.scoring.operating_point import logit
from tests.simulations.rows import Row

GAP = 1.7  # distance of the two classes' normal scores
TRUTHS = ((12, 0.3), (50, 0.2), (150, 0.4))  # groups, prevalence
CONFIDENT = ((20, 0.02), (40, 0.02), (80, 0.02), (200, 0.005))  # groups, fraction of wrong ones
MAX_ERROR = 0.2  # bound of the gate before
RARE = 0.02  # prevalence at which the decision curve is compared


def binormal(
    seed: int | np.random.Generator, *, num_groups: int, prevalence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, log odds of calibrated probabilities, and groups of one to six similar images.

    Scores of malignant images are N(GAP, 1), of benign ones N(0, 1), with a correlation of 0.7 in a group.
    """
    generator = np.random.default_rng(seed)
    group = np.repeat(np.arange(num_groups), generator.integers(1, 7, num_groups))
    target = (generator.random(num_groups) < prevalence).astype(int)[group]
    noise = np.sqrt(0.7) * generator.normal(size=num_groups)[group]
    score = GAP * target + noise + np.sqrt(0.3) * generator.normal(size=len(group))
    return target, GAP * score - GAP**2 / 2 + logit(np.array(prevalence)), group


def simulate(num: int, seed: int) -> list[Row]:
    """All rows, from `num` data sets per truth."""
    return [
        *_coverages(num, seed),
        _confident(num, seed),
        *_errors(num, seed),
        _always_benign(num, seed),
        _net_benefit(num, seed),
    ]


def _coverages(num: int, seed: int) -> list[Row]:
    """How often intervals hold the truth of calibrated probabilities, where they are defined."""
    found = [coverage(num, seed, *truth) for truth in TRUTHS]
    before, after = ({name: min(of[at][name] for of in found) for name in found[0][at]} for at in (0, 1))
    return [
        Row(
            f"{name.replace('_', ' ')}: worst coverage",
            "calibrated; 12, 50 or 150 groups of 1 to 6 images",
            "0.95",
            f"{before[name]:.3f} (clustered covariance)" if name in before else "none",
            f"{least:.3f}",
        )
        for name, least in after.items()
    ]


def coverage(
    num: int, seed: int, num_groups: int, prevalence: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Coverage by name, of the clustered covariance and of `src`."""
    generator = np.random.default_rng([seed, num_groups])
    truth = {INTERCEPT: 0.0, SLOPE: 1.0, OBSERVED_EXPECTED: 1.0, SKILL: true_skill(prevalence)}
    before: dict[str, list[float]] = {INTERCEPT: [], SLOPE: []}
    after: dict[str, list[float]] = {name: [] for name in (*NAMES, "calibration curve")}
    for _ in range(num):
        target, log_odds, group = binormal(generator, num_groups=num_groups, prevalence=prevalence)
        found = measure(target, expit(log_odds), group)
        for name, entry in found.items():
            if "undefined" not in entry:
                after[name].append(entry["low"] <= truth[name] <= entry["high"])
        if "undefined" not in found[SLOPE]:
            for name, (low, high) in _clustered(target, log_odds, group).items():
                before[name].append(low <= truth[name] <= high)
        curve = smooth(target, expit(log_odds), group)
        at = curve["mean_probability"]
        if curve["low"].notna().all():
            after["calibration curve"].append(float(np.mean((curve["low"] <= at) & (at <= curve["high"]))))
    return _means(before), _means(after)


def _confident(num: int, seed: int) -> Row:
    shares = [confident_coverage(num, seed, *truth)[SKILL] for truth in CONFIDENT]
    return Row(
        "confident model: least coverage of the Brier score's skill",
        "calibrated; 20 to 200 groups, 1 in 50 to 1 in 200 wrong",
        "0.95",
        "none",
        f"{min(shares):.3f}",
    )


def confident_coverage(num: int, seed: int, num_groups: int, wrong: float) -> dict[str, float]:
    """Coverage of ratio, intercept and skill where every probability is `wrong` or 1 - `wrong`, and true."""
    generator = np.random.default_rng([seed, num_groups])
    truth = {INTERCEPT: 0.0, OBSERVED_EXPECTED: 1.0, SKILL: 1 - wrong * (1 - wrong) / 0.25}
    hits: dict[str, list[float]] = {name: [] for name in truth}
    for _ in range(num):
        probability = np.where(np.arange(num_groups) % 2 == 0, wrong, 1 - wrong)
        target = (generator.random(num_groups) < probability).astype(int)
        found = measure(target, probability, np.arange(num_groups))
        for name, value in truth.items():
            if "undefined" not in found[name]:
                hits[name].append(found[name]["low"] <= value <= found[name]["high"])
    return _means(hits)


def _means(hits: dict[str, list[float]]) -> dict[str, float]:
    return {name: float(np.mean(found)) for name, found in hits.items()}


def _clustered(target: np.ndarray, log_odds: np.ndarray, group: np.ndarray) -> dict[str, tuple[float, float]]:
    """Intervals with the clustered covariance of statsmodels and a normal quantile."""
    options = {"cov_type": "cluster", "cov_kwds": {"groups": group}}
    ones = np.ones((len(target), 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        intercept = GLM(target, ones, family=Binomial(), offset=log_odds).fit(**options)
        slope = GLM(target, np.c_[ones, log_odds], family=Binomial()).fit(**options)
    return {INTERCEPT: tuple(intercept.conf_int()[0]), SLOPE: tuple(slope.conf_int()[1])}


def true_skill(prevalence: float) -> float:
    """Brier skill of the calibrated probabilities, by integration over the score."""
    score = np.linspace(-8, 8 + GAP, 20_001)
    step = score[1] - score[0]
    malignant, benign = prevalence * norm.pdf(score, GAP), (1 - prevalence) * norm.pdf(score)
    probability = malignant / (malignant + benign)
    brier = np.sum(malignant * (1 - probability) ** 2 + benign * probability**2) * step
    return float(1 - brier / (prevalence * (1 - prevalence)))


def _errors(num: int, seed: int) -> list[Row]:
    """The expected calibration error of calibrated probabilities, and of ones that are 0.1 too high."""
    generator = np.random.default_rng([seed, 1])
    found: dict[float, list[tuple[float, float]]] = {0.0: [], 0.1: []}
    for _ in range(num):
        true = generator.uniform(0.05, 0.85, 100)
        target = (generator.random(100) < true).astype(int)
        for shift, errors in found.items():
            errors.append((plain_error(target, true + shift), _error(target, true + shift)))
    return [
        Row(
            "expected calibration error",
            f"100 images, probabilities {f'{shift:g} too high' if shift else 'calibrated'}",
            f"{shift:g}",
            *(f"{mean:.3f}" for mean in np.mean(errors, axis=0)),
        )
        for shift, errors in found.items()
    ]


def plain_error(target: np.ndarray, probability: np.ndarray) -> float:
    """The rule before: mean distance over ten bins, as it is."""
    gap = np.bincount(calibration_bins(probability, 10), target - probability, 10)
    return float(np.abs(gap).sum() / len(target))


def _error(target: np.ndarray, probability: np.ndarray) -> float:
    once = np.ones((1, len(target)))
    measured = compute_metrics(target, probability, threshold=0.5, weights=once)
    return float(measured["expected_calibration_error"][0])


def _always_benign(num: int, seed: int) -> Row:
    """How often a model that always says 0 passes."""
    generator = np.random.default_rng([seed, 2])
    passed: list[tuple[bool, bool]] = []
    for _ in range(num):
        target, log_odds, group = binormal(generator, num_groups=100, prevalence=0.15)
        never = np.zeros(len(log_odds))
        passed.append(
            (plain_error(target, never) <= MAX_ERROR, measure(target, never, group)[SKILL]["low"] > 0)
        )
    before, after = np.mean(passed, axis=0)
    return Row(
        "a model that always says 0 passes",
        "15 % positive in 100 groups",
        "0",
        f"{before:.3f} (error below {MAX_ERROR:g})",
        f"{after:.3f} (Brier skill above 0)",
    )


def _net_benefit(num: int, seed: int) -> Row:
    """Largest error of the mean net benefit elsewhere, where logistic calibration fell back to none.

    Training drew half of each class; the few validation images happen to rank the wrong way.
    """
    generator = np.random.default_rng([seed, 3])
    fitted = calibration.fit(
        "logistic", np.array([1, 0, 0, 0]), np.array([0.2, 0.5, 0.6, 0.9]), trained_prevalence=0.5
    )
    benefits = []
    for _ in range(num):
        target, log_odds, _ = binormal(generator, num_groups=200, prevalence=0.25)
        balanced = expit(log_odds - logit(np.array(0.25)))
        benefits.append(
            [_benefit(target, fitted.apply(balanced), prior) for prior in (0.25, fitted.prevalence)]
        )
    before, after = np.abs(np.mean(benefits, axis=0) - true_net_benefit(RARE)).max(axis=1)
    return Row(
        "decision curve: largest error of net benefit",
        f"{RARE:.0%} positive; balanced training, logistic asked and none fitted",
        "0",
        f"{before:.4f}",
        f"{after:.4f}",
    )


def _benefit(target: np.ndarray, probability: np.ndarray, prior: float | None) -> np.ndarray:
    once = np.ones((1, len(target)))
    table = decision_curve(target, probability, weights=once, prevalences=[RARE], fitted_prevalence=prior)
    return table["net_benefit"].to_numpy()


def true_net_benefit(prevalence: float) -> np.ndarray:
    """Net benefit of the calibrated model at each threshold, in closed form."""
    odds = THRESHOLDS / (1 - THRESHOLDS)
    cut = (np.log(odds) - logit(np.array(prevalence))) / GAP + GAP / 2
    return norm.sf(cut - GAP) * prevalence - norm.sf(cut) * (1 - prevalence) * odds
