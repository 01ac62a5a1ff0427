"""What answers in shadow say of a challenger: how often it disagrees, and whether it ranks lesions better.

Champion and challenger answered the same images of a clinic, so differences are paired. Groups (patients or
lesions) are the units of all intervals.
"""

import math
from typing import Any

import numpy as np

from melanoma.config.evaluation import Promote
from melanoma.evaluation import intervals
from melanoma.evaluation.bootstrap import Draws, explained, in_words
from melanoma.evaluation.comparisons import ACCEPT, AUC, difference
from melanoma.evaluation.contest import Gate, ShadowRows

LOG_LOSS = "log_loss"
ENOUGH, BETTER = "min_shadow_rows", "shadow_labels: auc_roc"


def measure(rows: ShadowRows, draws: Draws) -> dict[str, Any]:
    """Disagreement and, on labelled images, the challenger's lead.

    Returns:
        `num_rows`, `num_groups`; `decisions_differ`, the share of images with another decision, and
        `mean_absolute_difference` of the probabilities; `num_positive` and `num_negative`, the labels that
        count; `challenger_minus_champion` by metric: AUC, where more is better, and log loss, where less is.
        Intervals are of 95 %.
    """
    num = len(rows.champion)
    gap = np.abs(rows.challenger - rows.champion)
    is_labelled = np.isfinite(rows.target)
    target = rows.target[is_labelled].astype(int)
    sides = [side[is_labelled] for side in (rows.challenger, rows.champion)]
    return {
        "num_rows": num,
        "num_groups": len(set(rows.group_ids)),
        "decisions_differ": intervals.rate(rows.differs, rows.group_ids),
        "mean_absolute_difference": float(gap.mean()) if num else math.nan,
        "num_positive": int((target == 1).sum()),
        "num_negative": int((target == 0).sum()),
        "challenger_minus_champion": {
            metric: _lead(metric, target, sides, rows.group_ids[is_labelled], draws)
            for metric in (AUC, LOG_LOSS)
        },
        "problems": list(rows.problems),
    }


def _lead(
    metric: str, target: np.ndarray, sides: list[np.ndarray], group_ids: np.ndarray, draws: Draws
) -> dict[str, Any]:
    if not len(target):
        return intervals.undefined_entry("no answer in shadow has a label that counts")
    first, second = sides
    return difference(target, first, second, group_ids, metric=metric, level=intervals.LEVEL, draws=draws)


def gates(rows: ShadowRows | None, found: dict[str, Any], rules: Promote) -> list[Gate]:
    """That the challenger answered enough images in shadow, and that labels do not show it to be worse.

    Args:
        rows: Images that both answered; None without a champion.
        found: Result of `measure`.
        rules: Section `promote` of params.yaml.
    """
    least = rules.min_shadow_rows
    if least is None:
        return []
    if rows is None:
        words = "there is no other version with the alias staging beside which the challenger could answer"
        return [Gate(ENOUGH, False, least, None, words, is_judged=False)]
    enough = [_enough(rows, found, least)]
    return [*enough, _not_worse(found)] if rules.shadow_labels else enough


def _enough(rows: ShadowRows, found: dict[str, Any], least: int) -> Gate:
    num = found["num_rows"]
    words = (
        f"the challenger answered {num} images in shadow beside the champion, at least {least} are required"
    )
    if num < least:
        words += f"; {least - num} are missing. {rows.how_to_get_more}, or {ACCEPT}"
    else:
        words += (
            f"; share of other decisions {in_words(found['decisions_differ'])}, mean absolute difference of "
            f"the probability {found['mean_absolute_difference']:.3f}"
        )
    return Gate(ENOUGH, num >= least, least, num, words, is_acceptable=num < least)


def _not_worse(found: dict[str, Any]) -> Gate:
    """Refuse a challenger that labels show to be worse; a lead that is not shown decides nothing."""
    lead, loss = (found["challenger_minus_champion"][metric] for metric in (AUC, LOG_LOSS))
    is_worse, is_better = lead["high"] < 0, lead["low"] > 0
    shown = "a loss" if is_worse else "a gain" if is_better else "neither gain nor loss"
    words = (
        f"{found['num_positive']} positive and {found['num_negative']} negative images answered in shadow "
        f"show {shown}: AUC, challenger minus champion: {explained(lead)}; log loss: {explained(loss)}"
    )
    return Gate(BETTER, not is_worse, 0, lead, words, is_judged=is_worse or is_better)
