"""How well probabilities agree with outcomes, with 95 % intervals over groups of images.

Intervals are a jackknife that leaves out one group at a time (for the two regressions one Newton step from
the fit on all, the covariance CR3 of Bell and McCaffrey, Survey Methodology 28, 2002), with a t quantile for
the effective number of groups of the rarer class, or of those that decide the jackknife. A Brier score that
rests on few wrong groups has the exact interval of a rate. Simulated coverage is at least 0.93 from 12 to 500
groups, also where 1 in 200 is wrong; the covariance clustered by group as statsmodels has it (CR1) covers
0.75 to 0.90 there for the slope.

A calibration that was fitted on few images is itself uncertain. With `fitted`, intervals of intercept, slope
and ratio hold the error of the calibration images too, so that they cover 0, 1 and 1 for a sound calibration;
without it they say how wrong this one calibration is, and cover these values in 83 % where validation and
test set have the same size.

Sources: Cox, Two further applications of a model for binary regression, Biometrika 45, 1958 (intercept and
slope); Van Calster et al., Calibration: the Achilles heel of predictive analytics, BMC Medicine 17, 2019.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit

from melanoma.evaluation.intervals import LEVEL, ROUNDING, Entry, effective_groups, entry, undefined_entry
from melanoma.scoring.operating_point import SMALLEST, logit

INTERCEPT, SLOPE = "calibration_intercept", "calibration_slope"
OBSERVED_EXPECTED, SKILL = "observed_expected", "brier_skill"
NAMES = (INTERCEPT, SLOPE, OBSERVED_EXPECTED, SKILL)
MIN_GROUPS = 3  # effective ones of each class, below which there is no interval
MIN_WRONG = 4  # effective groups on the wrong side of 0.5; with fewer, the jackknife covers as little as 0.27
MAX_EXTREME = 0.5  # fraction of probabilities of 0 or 1, above which the bound of the log odds decides
NAN = float("nan")


@dataclass(frozen=True)
class FitError:
    """How far calibrated log odds move if a group is left out of the calibration images.

    A Newton step of the calibration's own regression, written for its log odds: x becomes a + (1 + b) x.

    Attributes:
        steps: a and b by group of the calibration images, shape `(num_groups, 2)`.
        effective: Effective number of groups of the rarer class among the calibration images.
        undefined: Why the error is unknown; empty if it is known.
    """

    steps: np.ndarray
    effective: float
    undefined: str

    @classmethod
    def of(
        cls, target: np.ndarray, probability: np.ndarray, group_ids: np.ndarray, *, method: str
    ) -> "FitError | None":
        """The error of a calibration from the images on which it was fitted; None if nothing was fitted.

        Args:
            target: Shape `(num_samples,)`, 0 or 1, of the calibration images.
            probability: Calibrated probabilities of these images, shape `(num_samples,)`.
            group_ids: Shape `(num_samples,)`.
            method: Method of `scoring.operating_point.Calibration`. The error of `isotonic` is that of its
                intercept and slope, as for `logistic`; `temperature` has no intercept.
        """
        if method == "none":
            return None
        sample = Sample.of(target, probability, group_ids)
        features = np.stack([np.ones(len(target)), sample.log_odds], axis=1)
        free = slice(1, 2) if method == "temperature" else slice(0, 2)
        steps = np.zeros((sample.num_groups, 2))
        steps[:, free] = newton_steps(sample, features[:, free], probability)
        reason = sample.why_no_interval
        if not reason and np.isnan(steps).any():
            reason = "one group decides the calibration"
        return cls(steps, sample.effective, f"calibration images: {reason}" if reason else "")


def measure(
    target: np.ndarray, probability: np.ndarray, group_ids: np.ndarray, *, fitted: FitError | None = None
) -> dict[str, Entry]:
    """Intercept, slope, observed / expected and Brier skill.

    Args:
        target: Shape `(num_samples,)`, 0 or 1.
        probability: Shape `(num_samples,)`, in 0..1. For the two regressions, 0 and 1 count as 1e-7 and
            1 - 1e-7, so that their log odds are finite.
        group_ids: Shape `(num_samples,)`; images of one group are not independent.
        fitted: Error of the calibration of these probabilities, fitted on other groups; its share widens the
            intervals of intercept, slope and ratio. The Brier skill is that of the calibration as it is.

    Returns:
        Each as `value`, `low`, `high`, and `undefined`, a sentence, where one of them is nan:

        `calibration_intercept`: what must be added to the log odds so that as many are positive as expected;
        0 is ideal, below 0 the probabilities are too high. `calibration_slope`: the factor of the log odds in
        a logistic regression of the outcome; 1 is ideal, below 1 they are too extreme. `observed_expected`:
        number of positive images by the sum of the probabilities; 1 is ideal. `brier_skill`: 1 - Brier
        score / Brier score of always saying the prevalence of these images; 1 at most, 0 is no better than
        that.
    """
    reason = why_undefined(target, probability)
    if reason:
        return dict.fromkeys(NAMES, undefined_entry(reason))
    sample = Sample.of(target, probability, group_ids, fitted)
    found = {OBSERVED_EXPECTED: _observed_expected(sample)}
    if np.ptp(target) == 0:
        reason = "all images are of one class"
        found |= dict.fromkeys((INTERCEPT, SLOPE, SKILL), undefined_entry(reason))
    else:
        found |= {INTERCEPT: _intercept(sample), SLOPE: _slope(sample), SKILL: _skill(sample)}
    return {name: found[name] for name in NAMES}


def why_undefined(target: np.ndarray, probability: np.ndarray) -> str:
    """Why nothing can be measured; empty if something can."""
    if len(target) == 0:
        return "there is no image"
    num_bad = int(np.sum(~np.isfinite(probability)))
    return f"{num_bad} of {len(probability)} probabilities are not finite" if num_bad else ""


@dataclass(frozen=True)
class Sample:
    """Outcomes and probabilities of images in groups.

    Attributes:
        target: Shape `(num_samples,)`, 0.0 or 1.0.
        probability: Shape `(num_samples,)`.
        log_odds: Its log odds, finite.
        group: Number of each image's group, from 0.
        num_groups: Number of groups.
        effective: Effective number of groups of the rarer class.
        fitted: Error of the calibration, see `measure`.
    """

    target: np.ndarray
    probability: np.ndarray
    log_odds: np.ndarray
    group: np.ndarray
    num_groups: int
    effective: float
    fitted: FitError | None = None

    @classmethod
    def of(
        cls,
        target: np.ndarray,
        probability: np.ndarray,
        group_ids: np.ndarray,
        fitted: FitError | None = None,
    ) -> "Sample":
        """From the arguments of `measure`."""
        names, group = np.unique(group_ids, return_inverse=True)
        effective = min(effective_groups(group[target == label]) for label in (0, 1))
        log_odds = logit(probability)
        return cls(target.astype(np.float64), probability, log_odds, group, len(names), effective, fitted)

    @property
    def why_no_interval(self) -> str:
        """Why no interval is given; empty if one may be."""
        for label, word in ((1, "positive"), (0, "negative")):
            if not (self.target == label).any():
                return f"no image is {word}"
            num = effective_groups(self.group[self.target == label])
            if num < MIN_GROUPS - ROUNDING:
                return f"{num:.1f} effective {word} groups; an interval needs at least {MIN_GROUPS}"
        return ""

    def quantile(self, influence: np.ndarray) -> np.ndarray:
        """Quantile of t for the ends of an interval, from changes of estimates without each group."""
        return np.asarray(stats.t.ppf((1 + LEVEL) / 2, degrees_of_freedom(influence, self.effective)))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of a value of each image within each group."""
        return np.bincount(self.group, values, self.num_groups)

    def interval(
        self,
        value: float,
        left_out: np.ndarray,
        back: Callable[[float], float] = float,
        *,
        by_fit: Sequence[float] | None = None,
    ) -> tuple[float, float, str]:
        """Low and high end from the estimates without each group, and why they are nan.

        Args:
            value: Estimate from all groups, on the scale on which it is nearly normal.
            left_out: Estimate without each group, shape `(num_groups,)`.
            back: Leads back from that scale.
            by_fit: Derivatives of the estimate by a and b of `FitError`; None if the calibration's error does
                not count. The degrees of freedom of the sum are those of Welch and Satterthwaite.
        """
        if self.why_no_interval:
            return NAN, NAN, self.why_no_interval
        if not np.isfinite(left_out).all():
            return NAN, NAN, "one group decides: without it the value is not defined"
        parts = [(left_out - value, self.effective)]
        if by_fit is not None and self.fitted is not None:
            if self.fitted.undefined:
                return NAN, NAN, self.fitted.undefined
            parts.append((self.fitted.steps @ np.asarray(by_fit), self.fitted.effective))
        variances = np.array([(1 - 1 / len(change)) * np.sum(change**2) for change, _ in parts])
        degrees = np.array([degrees_of_freedom(*part) for part in parts])
        total = variances.sum()
        joint = total**2 / np.sum(variances**2 / degrees) if total > 0 else degrees.min()
        half = float(stats.t.ppf((1 + LEVEL) / 2, joint) * np.sqrt(total))
        return back(value - half), back(value + half), ""


def degrees_of_freedom(influence: np.ndarray, effective: float) -> np.ndarray:
    """Degrees of freedom of a jackknife.

    Args:
        influence: Changes of estimates without each group, shape `(num_groups, ...)`. If few groups decide
            the error, it is itself uncertain: degrees are at most `(sum d²)² / sum d⁴`.
        effective: Effective number of groups of the rarer class; degrees are at most one less.
    """
    squares = influence**2
    fourth = np.sum(squares**2, axis=0)
    num = np.divide(np.sum(squares, axis=0) ** 2, fourth, out=np.full_like(fourth, np.inf), where=fourth > 0)
    return np.asarray(np.clip(num, 1, max(1, effective - 1)))


def _intercept(sample: Sample) -> Entry:
    def surplus(value: float) -> float:
        """How many more are expected than are positive; it rises with the intercept."""
        return float(np.sum(expit(sample.log_odds + value) - sample.target))

    is_extreme = (sample.probability <= SMALLEST) | (sample.probability >= 1 - SMALLEST)
    if is_extreme.mean() > MAX_EXTREME:
        return undefined_entry(f"{is_extreme.mean():.0%} of the probabilities are 0 or 1".replace("%", " %"))
    bound = np.abs(sample.log_odds).max() + np.log(len(sample.target)) + 1
    value = float(brentq(surplus, -bound, bound, xtol=1e-10))
    fitted = expit(sample.log_odds + value)
    steps = newton_steps(sample, np.ones((len(fitted), 1)), fitted)
    weight = fitted * (1 - fitted)
    by_fit = (-1.0, -float(weight @ sample.log_odds / weight.sum()))
    return _regression_entry(sample, value, steps, by_fit=by_fit)


def _slope(sample: Sample) -> Entry:
    reason = why_no_slope(sample)
    if reason:
        return undefined_entry(reason)
    features = np.stack([np.ones(len(sample.target)), sample.log_odds], axis=1)
    coefficients = fit_logistic(sample.target, features)
    if coefficients is None:
        return undefined_entry("the logistic regression does not converge")
    steps = newton_steps(sample, features, expit(features @ coefficients))
    slope = float(coefficients[1])
    return _regression_entry(sample, slope, steps, by_fit=(0.0, -slope))


def fit_logistic(target: np.ndarray, features: np.ndarray) -> np.ndarray | None:
    """Coefficients of a logistic regression without a penalty; None if it does not converge."""
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it converged is returned
        fitted = GLM(target, features, family=Binomial()).fit()
    return np.asarray(fitted.params) if fitted.converged else None


def _regression_entry(
    sample: Sample, value: float, steps: np.ndarray, *, by_fit: tuple[float, float]
) -> Entry:
    low, high, reason = sample.interval(value, value + steps[:, -1], by_fit=by_fit)
    return entry(value, low, high, undefined=reason)


def why_no_slope(sample: Sample) -> str:
    """Why no finite slope fits best; empty if one does."""
    positive, negative = sample.log_odds[sample.target == 1], sample.log_odds[sample.target == 0]
    if np.ptp(sample.log_odds) == 0:
        return "all probabilities are equal"
    if positive.min() >= negative.max():
        return "no negative image has a higher probability than a positive one, so the slope has no bound"
    if negative.min() >= positive.max():
        return "no positive image has a higher probability than a negative one, so the slope has no bound"
    return ""


def newton_steps(sample: Sample, features: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Change of a logistic regression's coefficients by a Newton step that leaves out one group.

    Args:
        sample: Images and groups.
        features: Shape `(num_samples, num_features)`.
        fitted: Probabilities of the regression on all images, shape `(num_samples,)`.

    Returns:
        Shape `(num_groups, num_features)`; nan where nothing can be fitted without the group.
    """
    residual, weight = sample.target - fitted, fitted * (1 - fitted)
    score = np.stack([sample.sums(column * residual) for column in features.T], axis=1)
    products = [[sample.sums(one * other * weight) for other in features.T] for one in features.T]
    information = np.moveaxis(np.array(products), 2, 0)
    without = information.sum(axis=0) - information
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.linalg.det(without) / np.linalg.det(information.sum(axis=0))
    is_defined = share > 1e-9
    steps = np.full_like(score, NAN)
    steps[is_defined] = -np.linalg.solve(without[is_defined], score[is_defined, :, None])[..., 0]
    return steps


def _observed_expected(sample: Sample) -> Entry:
    observed, expected = sample.sums(sample.target), sample.sums(sample.probability)
    if expected.sum() == 0:
        return undefined_entry("all probabilities are 0")
    ratio = observed.sum() / expected.sum()
    weight = sample.probability * (1 - sample.probability)
    by_fit = -np.array([weight.sum(), weight @ sample.log_odds]) / expected.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        without = np.log(observed.sum() - observed) - np.log(expected.sum() - expected)
        low, high, reason = sample.interval(
            float(np.log(ratio)), without, lambda end: float(np.exp(end)), by_fit=by_fit
        )
    return entry(ratio, low, high, undefined=reason)


def _skill(sample: Sample) -> Entry:
    """Brier skill, with the interval of the logarithm of two Brier scores' ratio, or that of a rate."""
    loss, positive = (sample.probability - sample.target) ** 2, sample.sums(sample.target)
    lost, num = sample.sums(loss), sample.sums(np.ones_like(loss))
    of_prevalence = float(np.mean(sample.target) * np.mean(1 - sample.target))
    value = 1 - float(np.mean(loss)) / of_prevalence
    if sample.why_no_interval:
        return entry(value, NAN, NAN, undefined=sample.why_no_interval)
    if _num_wrong(sample, loss) < MIN_WRONG:
        return _skill_of_few_wrong(sample, loss, of_prevalence)

    def log_ratio(lost: np.ndarray, positive: np.ndarray, num: np.ndarray) -> np.ndarray:
        """Logarithm of the Brier score by that of always saying the prevalence."""
        return np.log(lost * num) - np.log(positive) - np.log(num - positive)

    with np.errstate(divide="ignore", invalid="ignore"):
        whole = float(log_ratio(lost.sum(), positive.sum(), num.sum()))
        without = log_ratio(lost.sum() - lost, positive.sum() - positive, num.sum() - num)
    low, high, reason = sample.interval(whole, without, lambda end: float(1 - np.exp(end)))
    return entry(value, high, low, undefined=reason)


def _num_wrong(sample: Sample, loss: np.ndarray) -> float:
    """Effective number of groups of the loss on the wrong side of 0.5; 0 without one."""
    is_wrong = (sample.probability >= 0.5) != (sample.target == 1)
    lost = sample.sums(np.where(is_wrong, loss, 0))
    return float(lost.sum() ** 2 / (lost @ lost)) if is_wrong.any() else 0.0


def _skill_of_few_wrong(sample: Sample, loss: np.ndarray, of_prevalence: float) -> Entry:
    """Brier skill, the loss as a rate on the effective number of groups.

    No loss in 0..1 spreads more than that of 0 or 1 with the same mean, so the interval of Clopper and
    Pearson holds, also where no image is wrong.
    """
    num, mean, tail = effective_groups(sample.group), float(np.mean(loss)), (1 - LEVEL) / 2
    least = stats.beta.ppf(tail, num * mean, num - num * mean + 1) if mean > 0 else 0.0
    most = stats.beta.ppf(1 - tail, num * mean + 1, num - num * mean) if mean < 1 else 1.0
    return entry(*(1 - loss_ / of_prevalence for loss_ in (mean, most, least)))
