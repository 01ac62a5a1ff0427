"""Whether a challenger may take the alias `staging`: declared rules, reasons in words."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from melanoma.evaluation.bootstrap import difference, draw_weights, metrics_with_intervals
from melanoma.sections import Promote


@dataclass(frozen=True)
class Contest:
    """Scores of challenger and champion on the same images, in neither one's training groups.

    Attributes:
        target: Shape `(num_images,)`, 0 or 1.
        group_ids: Shape `(num_images,)`.
        challenger: Probabilities, shape `(num_images,)`.
        champion: Likewise; `None` when no model holds the alias yet.
    """

    target: np.ndarray
    group_ids: np.ndarray
    challenger: np.ndarray
    champion: np.ndarray | None


def judge(contest: Contest, rules: Promote) -> dict[str, Any]:
    """Apply every gate of `params.yaml: promote`.

    Returns:
        `is_passed`, `reasons` (in words, of the gates that failed), `num_images`, `num_groups`,
        `num_malignant_groups`, `challenger_auc_roc` and, with a champion, `champion_auc_roc` and
        `auc_roc_difference`, each as `value`, `low`, `high`.
    """
    malignant_groups = set(contest.group_ids[contest.target == 1])
    evidence: dict[str, Any] = {
        "num_images": len(contest.target),
        "num_groups": len(set(contest.group_ids)),
        "num_malignant_groups": len(malignant_groups),
    }
    reasons = []
    if len(malignant_groups) < rules.min_malignant_groups:
        reasons.append(
            f"only {len(malignant_groups)} malignant groups among the {len(contest.target)} images; "
            f"at least {rules.min_malignant_groups} are needed to judge"
        )
    if len(set(contest.target)) == 2:
        compared, lost = _compare(contest, rules)
        evidence |= compared
        reasons += lost
    elif not reasons:
        reasons.append("the images to judge by hold one class only, so AUC is undefined")
    return {"is_passed": not reasons, "reasons": reasons, **evidence}


def _compare(contest: Contest, rules: Promote) -> tuple[dict[str, Any], list[str]]:
    weights = draw_weights(contest.group_ids, num_draws=rules.num_bootstrap_draws, seed=rules.seed)

    def auc(probability: np.ndarray) -> dict[str, float]:
        return metrics_with_intervals(contest.target, probability, threshold=0.5, weights=weights)["auc_roc"]

    challenger = auc(contest.challenger)
    evidence: dict[str, Any] = {"challenger_auc_roc": challenger}
    reasons = []
    if not challenger["low"] > rules.min_auc_roc_lower_bound:
        reasons.append(
            f"AUC {challenger['value']:.3f} has a 95 % interval from {challenger['low']:.3f}; it must "
            f"lie above {rules.min_auc_roc_lower_bound:g}"
        )
    if contest.champion is not None:
        lead = difference(
            contest.target, contest.challenger, contest.champion, metric="auc_roc", weights=weights
        )
        evidence |= {"champion_auc_roc": auc(contest.champion), "auc_roc_difference": lead}
        # The small term keeps 0.98 - 1 = -0.020000000000000018 from failing a drop of 0.02.
        if lead["value"] < -rules.max_primary_drop - 1e-9:
            reasons.append(
                f"AUC is {-difference['value']:.3f} below the champion's on the same images; at most "
                f"{rules.max_primary_drop:g} is allowed"
            )
    return evidence, reasons
