"""The metrics of a binary classifier, each declared once: name, label, range, direction and needs.

Model card, summary, report page, slices and bootstrap read this table; `metrics.py` and
`calibration_measures.py` compute the values.
"""

import math
from dataclasses import dataclass

from melanoma.scoring.operating_point import NEGATIVE, POSITIVE

BOTH = (POSITIVE, NEGATIVE)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of a binary classifier.

    Attributes:
        name: Name in code, JSON and MLflow.
        label: Name in words.
        low: Lowest possible value.
        high: Highest possible value.
        is_higher_better: Whether a higher value is better; without meaning if there is an ideal.
        ideal: The best value, where neither a higher nor a lower one is better.
        is_weighted: Whether `metrics.compute_metrics` has it, for any weights of the samples; if not,
            `calibration_measures.measure` has it.
        needs_threshold: Whether it depends on the decision threshold.
        needs: Classes of which it needs images, `positive` and `negative`; empty if any images suffice.
        is_headline: Whether the report page shows it; the model card shows all.
        is_summary: Whether the summary in the terminal shows it.
    """

    name: str
    label: str
    low: float = 0.0
    high: float = 1.0
    is_higher_better: bool = True
    ideal: float | None = None
    is_weighted: bool = True
    needs_threshold: bool = False
    needs: tuple[str, ...] = ()
    is_headline: bool = True
    is_summary: bool = False


TABLE = (  # in the order in which they are shown
    Metric(name="auc_roc", label="AUC", needs=BOTH, is_summary=True),
    Metric(
        name="partial_auc_above_80_sensitivity",
        label="partial AUC above a sensitivity of 0.80 (at most 0.20)",
        high=0.2,
        needs=BOTH,
    ),
    Metric(name="specificity_at_95_sensitivity", label="specificity at a sensitivity of 0.95", needs=BOTH),
    Metric(name="average_precision", label="average precision", needs=BOTH),
    Metric(name="sensitivity", label="sensitivity", needs_threshold=True, needs=(POSITIVE,), is_summary=True),
    Metric(name="specificity", label="specificity", needs_threshold=True, needs=(NEGATIVE,), is_summary=True),
    Metric(
        name="balanced_accuracy",
        label="balanced accuracy",
        needs_threshold=True,
        needs=BOTH,
        is_headline=False,
    ),
    Metric(name="accuracy", label="accuracy", needs_threshold=True, is_headline=False),
    Metric(name="ppv", label="positive predictive value", needs_threshold=True, needs=BOTH, is_summary=True),
    Metric(name="npv", label="negative predictive value", needs_threshold=True, needs=BOTH, is_summary=True),
    Metric(name="f1_score", label="F1 score", needs_threshold=True, needs=BOTH, is_headline=False),
    Metric(name="brier_score", label="Brier score", is_higher_better=False),
    Metric(name="log_loss", label="log loss", high=math.inf, is_higher_better=False, is_headline=False),
    Metric(
        name="expected_calibration_error",
        label="expected calibration error, less what chance explains",
        is_higher_better=False,
        is_headline=False,
    ),
    Metric(
        name="brier_skill",
        label="Brier skill (0: no better than saying the prevalence)",
        low=-math.inf,
        needs=BOTH,
        is_weighted=False,
        is_summary=True,
    ),
    Metric(
        name="calibration_intercept",
        label="calibration intercept (0 is ideal)",
        low=-math.inf,
        high=math.inf,
        ideal=0,
        needs=BOTH,
        is_weighted=False,
        is_summary=True,
    ),
    Metric(
        name="calibration_slope",
        label="calibration slope (1 is ideal)",
        low=-math.inf,
        high=math.inf,
        ideal=1,
        needs=BOTH,
        is_weighted=False,
        is_summary=True,
    ),
    Metric(
        name="observed_expected",
        label="observed / expected positive images (1 is ideal)",
        high=math.inf,
        ideal=1,
        needs=BOTH,
        is_weighted=False,
        is_headline=False,
    ),
)
BY_NAME = {metric.name: metric for metric in TABLE}
METRICS = tuple(BY_NAME)
WEIGHTED = tuple(metric.name for metric in TABLE if metric.is_weighted)
THRESHOLD_FREE = tuple(metric.name for metric in TABLE if not metric.needs_threshold)
HEADLINE = tuple(metric for metric in TABLE if metric.is_headline)
SUMMARY = tuple(metric for metric in TABLE if metric.is_summary)
