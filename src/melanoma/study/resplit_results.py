"""Does the test set overestimate performance? Simple methods on other splits of the same images, by group.

A split is one random draw. By chance its test set may be easier for a method than others would have been, and
no interval over its test images shows that. Methods that are fitted in seconds are therefore fitted and
tested again on many splits. They do not show by how much the test set overestimates another method. No model
is selected by them, and no image changes its split.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from melanoma.config.evaluation import Audit
from melanoma.data.groups.splits import Plan, assign_splits
from melanoma.errors import DataError
from melanoma.evaluation import references
from melanoma.evaluation.bootstrap import UNDEFINED, number_in_words
from melanoma.evaluation.figures import CURVE, new_figure
from melanoma.schema import NOT_A_DEVICE, TEST
from melanoma.study.report_folder import Captions

COLOURS, FROZEN, BACKBONE = "colours", "frozen_vgg16", "backbone"
NAMES = {
    COLOURS: "logistic regression on colours alone",
    FROZEN: "logistic regression on the frozen VGG-16 blocks of the best of the search",
    BACKBONE: "logistic regression on features of the backbone before it is fine-tuned",
}
QUANTILES = (0.025, 0.975)
MAX_TRIES = 10  # random draws per wanted split


def redraw(index: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """`index` with other splits, drawn as the stage `assign` draws them for new images.

    Args:
        index: Columns `schema.SPLIT_COLUMNS`.
        plan: Seed, fractions and rule.

    Returns:
        The same rows in the same order; every group is in one split.
    """
    named = index[["image_id", "dataset", "group_id", "target"]]
    drawn = assign_splits(named.assign(is_accepted=True, split=None), plan)
    found = named.merge(
        drawn[["image_id", "dataset", "split"]], on=["image_id", "dataset"], how="left", validate="one_to_one"
    )
    return index.assign(split=found["split"].to_numpy())


def find_seeds(index: pd.DataFrame, plan: Plan, *, num: int) -> list[int]:
    """The first `num` seeds, from that of `plan` on, whose splits differ from `index` and from each other.

    Raises:
        DataError: There are not so many ways to split the images.
    """
    found, seen = [], {tuple(index["split"])}
    for candidate in range(plan.seed, plan.seed + MAX_TRIES * num):
        drawn = tuple(redraw(index, replace(plan, seed=candidate))["split"])
        if drawn not in seen:
            seen.add(drawn)
            found.append(candidate)
        if len(found) == num:
            return found
    raise DataError(
        f"Only {len(found)} of {MAX_TRIES * num} random splits differ from each other and from the cohort's "
        f"own split; {num} are needed, but the images have too few groups. Lower params.yaml: "
        "study.resplit.num_splits."
    )


def auc_on_test(features: pd.DataFrame, index: pd.DataFrame, settings: Audit) -> float:
    """The AUC on the test set of a logistic regression that was fitted on the training set.

    Args:
        features: One row per image, indexed by image_id.
        index: Columns `schema.SPLIT_COLUMNS`, of the same images.
        settings: `params.yaml: audit`, for the folds that choose the penalty within the training set.

    Returns:
        nan if the test set has only one class.
    """
    is_test = (index["split"] == TEST).to_numpy()
    target = index["target"].to_numpy()[is_test]
    if len(np.unique(target)) < 2:
        return float("nan")
    scores = references.fit_and_score(StandardScaler(), features, index, settings)
    return float(roc_auc_score(target, scores.to_numpy()[is_test]))


def auc_of_draw(
    seed: int, *, features: pd.DataFrame, index: pd.DataFrame, settings: Audit, plan: Plan
) -> float:
    """`auc_on_test` on the splits that `seed` draws, otherwise by `plan`."""
    return auc_on_test(features, redraw(index, replace(plan, seed=seed)), settings)


def compare(here: float, others: np.ndarray) -> dict[str, Any]:
    """The cohort's own test set among those of other splits.

    Args:
        here: The AUC on it.
        others: AUCs on the other test sets, shape `(num_splits,)`; nan where undefined.

    Returns:
        `here`; of the others `mean`, standard deviation `sd` (n - 1), `low` and `high` (95 % of them lie
        between) and `num_defined`; `overestimate`, which is `here` minus their mean; `share_below`, the
        fraction of them that is lower than `here`; and `others`, all of them. nan where too few are defined.
    """
    defined = others[np.isfinite(others)]
    low, high = np.quantile(defined, QUANTILES) if len(defined) else (np.nan, np.nan)
    mean = defined.mean() if len(defined) else np.nan
    return {
        "here": here,
        "mean": float(mean),
        "sd": float(defined.std(ddof=1)) if len(defined) > 1 else float("nan"),
        "low": float(low),
        "high": float(high),
        "overestimate": float(here - mean),
        "share_below": float((defined < here).mean()) if len(defined) and np.isfinite(here) else float("nan"),
        "num_defined": len(defined),
        "others": others.tolist(),
    }


def correlation(methods: Mapping[str, dict[str, Any]]) -> float:
    """Pearson's r of the AUCs of two methods over the splits.

    Returns:
        nan unless there are two methods, both defined on at least three splits and not constant.
    """
    if len(methods) != 2:
        return float("nan")
    pairs = np.array([found["others"] for found in methods.values()], float)  # (2, num_splits)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if pairs.shape[1] < 3 or (np.ptp(pairs, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(pairs)[0, 1])


def table(results: dict[str, Any]) -> pd.DataFrame:
    """One line per method."""
    return pd.DataFrame(
        [
            {
                "method": NAMES[kind],
                "this_test_set": number_in_words(found["here"]),
                "mean_of_others": number_in_words(found["mean"]),
                "standard_deviation": number_in_words(found["sd"]),
                "95_percent_of_others": _range(found),
                "percent_of_others_lower": _percent(found["share_below"]),
            }
            for kind, found in results["methods"].items()
        ]
    )


def _range(found: dict[str, Any]) -> str:
    low, high = number_in_words(found["low"]), number_in_words(found["high"])
    return low if low == UNDEFINED else f"{low} to {high}"


def _percent(share: float) -> str:
    return f"{share:.0%}".rstrip("%") if np.isfinite(share) else UNDEFINED


def finding(results: dict[str, Any]) -> str:
    """The result in one line."""
    lines = [
        f"{NAMES[kind]}: AUC {number_in_words(found['here'])} on this test set, "
        f"{number_in_words(found['mean'])} on {found['num_defined']} others (sd "
        f"{number_in_words(found['sd'])})"
        for kind, found in results["methods"].items()
    ]
    return "; ".join(lines)


def figure(results: dict[str, Any], *, title: str, note: str) -> Figure:
    """The AUC on each test set, one row per method."""
    methods = results["methods"]
    picture = new_figure(title, note, width=8.4, height=1.6 + 0.9 * len(methods))
    axes = picture.subplots()
    for line, found in enumerate(methods.values()):
        others = np.array(found["others"], float)
        heights = line + np.linspace(-0.22, 0.22, len(others))  # apart, so that none hides another
        axes.plot(others, heights, "o", color=CURVE, alpha=0.35, markersize=4, label="other test sets")
        axes.plot([found["mean"]] * 2, [line - 0.32, line + 0.32], color=CURVE, label="their mean")
        axes.plot(found["here"], line, "D", color="#b23a48", label="this test set")
    axes.set(yticks=range(len(methods)), ylim=(len(methods) - 0.5, -0.5), xlabel="AUC on the test set")
    axes.set_yticklabels([kind.replace("_", " ") for kind in methods])
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    picture.legend(once.values(), once.keys(), fontsize=8, loc="outside right upper")
    return picture


def _describe_correlation(r: float) -> str:
    if not np.isfinite(r):
        return ""
    return (
        f"Over the splits, the AUCs of the two methods have a correlation of r = {r:.2f}. They do not show "
        "by how much the test set overestimates another method. "
    )


def captions(results: dict[str, Any]) -> Captions:
    """By file name: `caption` and `alt`."""
    cohort = results["cohort"] + (" (SYNTHETIC images)" if results["is_synthetic"] else "")
    caption = (
        f"Is the test set of {cohort} easier than others? The same simple methods, fitted and tested on "
        f"{results['num_splits']} other splits of its {results['num_images']} images by group. AUC on the "
        "test set; the splits share images, so this shows how results vary, not a confidence interval. "
        f"{_describe_correlation(results['correlation'])}No model is selected by it. "
        f"{NOT_A_DEVICE.capitalize()}."
    )
    return {
        "resplit.csv": {"caption": caption, "alt": caption},
        "resplit.png": {
            "caption": caption,
            "alt": f"AUC on this and on other test sets. {finding(results)}.",
        },
    }
