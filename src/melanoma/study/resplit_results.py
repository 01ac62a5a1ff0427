"""Whether a test side flatters: the same simple methods on other sides of the same images, drawn by group.

One split is one draw. By chance its test side may be easier for a method than others would have been, and no
interval over its test images shows that. So methods that are fitted in seconds are fitted and tested anew on
many splits. How far another method is flattered does not follow from these. It measures only: nothing is
chosen by it, and no image changes its side.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from melanoma.config.evaluation import Audit
from melanoma.data.groups.splits import assign_splits
from melanoma.errors import DataError
from melanoma.evaluation import references
from melanoma.evaluation.bootstrap import UNDEFINED, number_in_words
from melanoma.evaluation.figures import CURVE, new_figure
from melanoma.schema import NOT_A_DEVICE, TEST

COLOURS, FROZEN = "colours", "frozen_vgg16"
WORDS = {
    COLOURS: "logistic regression on colours alone",
    FROZEN: "logistic regression on the frozen VGG-16 blocks of the best of the search",
}
QUANTILES = (0.025, 0.975)
MOST_TRIED = 10  # draws for each that is wanted


def redraw(index: pd.DataFrame, *, seed: int, fractions: Mapping[str, float]) -> pd.DataFrame:
    """`index` with other sides, drawn as the stage `assign` draws them for images that have none.

    Args:
        index: Columns `schema.SPLIT_COLUMNS`.
        seed: Of the draw.
        fractions: Of images, by split; they add to 1.

    Returns:
        The same rows in the same order; every group on one side.
    """
    named = index[["image_id", "dataset", "group_id", "target"]]
    drawn = assign_splits(named.assign(is_accepted=True, split=None), seed=seed, fractions=dict(fractions))
    sides = named.merge(
        drawn[["image_id", "dataset", "split"]], on=["image_id", "dataset"], how="left", validate="one_to_one"
    )
    return index.assign(split=sides["split"].to_numpy())


def other_seeds(index: pd.DataFrame, *, seed: int, num: int, fractions: Mapping[str, float]) -> list[int]:
    """The first `num` seeds from `seed` on that draw other sides than `index` has, or each other's.

    Raises:
        DataError: There are not so many ways to split the images.
    """
    found, seen = [], {_sides(index)}
    for candidate in range(seed, seed + MOST_TRIED * num):
        drawn = _sides(redraw(index, seed=candidate, fractions=fractions))
        if drawn not in seen:
            seen.add(drawn)
            found.append(candidate)
        if len(found) == num:
            return found
    raise DataError(
        f"Of {MOST_TRIED * num} draws of sides only {len(found)} are unlike each other and the split that is "
        f"judged, {num} are wanted: the images have too few groups. Lower params.yaml: resplit.num_splits."
    )


def _sides(index: pd.DataFrame) -> tuple[str, ...]:
    return tuple(index["split"])


def auc_on_test(features: pd.DataFrame, index: pd.DataFrame, settings: Audit) -> float:
    """The AUC on the test images of a logistic regression that was fitted on the training images.

    Args:
        features: A row an image, indexed by image_id.
        index: Columns `schema.SPLIT_COLUMNS`, of the same images.
        settings: `params.yaml: audit`, for the folds that choose the penalty among training images.

    Returns:
        nan where the test images are of one class.
    """
    is_test = (index["split"] == TEST).to_numpy()
    target = index["target"].to_numpy()[is_test]
    if len(np.unique(target)) < 2:
        return float("nan")
    scores = references.fit_and_score(StandardScaler(), features, index, settings)
    return float(roc_auc_score(target, scores.to_numpy()[is_test]))


def auc_of_draw(
    seed: int, *, features: pd.DataFrame, index: pd.DataFrame, settings: Audit, fractions: Mapping[str, float]
) -> float:
    """`auc_on_test` on the sides that `seed` draws."""
    return auc_on_test(features, redraw(index, seed=seed, fractions=fractions), settings)


def compare(here: float, others: np.ndarray) -> dict[str, Any]:
    """This test side among others.

    Args:
        here: The AUC on it.
        others: Shape `(num_splits,)`: on others; nan where one is undefined.

    Returns:
        `here`; of the others `mean`, standard deviation `sd` (n - 1), `low` and `high` (between them lie 95
        of 100) and `num_defined`; `flatters`, which is `here` less their mean; `share_below`, the part of
        them that is lower than `here`; and `others`, all of them. nan where too few are defined.
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
        "flatters": float(here - mean),
        "share_below": float((defined < here).mean()) if len(defined) and np.isfinite(here) else float("nan"),
        "num_defined": len(defined),
        "others": others.tolist(),
    }


def correlation(methods: Mapping[str, dict[str, Any]]) -> float:
    """Whether splits that are easy for one method are so for the other: Pearson's r of their AUCs.

    Returns:
        nan unless there are two methods, both defined on three splits that differ.
    """
    if len(methods) != 2:
        return float("nan")
    pairs = np.array([found["others"] for found in methods.values()], float)  # (2, num_splits)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if pairs.shape[1] < 3 or (np.ptp(pairs, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(pairs)[0, 1])


def table(results: dict[str, Any]) -> pd.DataFrame:
    """One line for each method."""
    return pd.DataFrame(
        [
            {
                "method": WORDS[kind],
                "this_test_side": number_in_words(found["here"]),
                "mean_of_others": number_in_words(found["mean"]),
                "standard_deviation": number_in_words(found["sd"]),
                "95_of_100_others_lie_in": _range(found),
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
    """For people, on one line."""
    said = [
        f"{WORDS[kind]}: AUC {number_in_words(found['here'])} on this test side, on {found['num_defined']} "
        f"others {number_in_words(found['mean'])} (sd {number_in_words(found['sd'])})"
        for kind, found in results["methods"].items()
    ]
    return "; ".join(said)


def figure(results: dict[str, Any], *, title: str, note: str) -> Figure:
    """The AUC on each other test side, a row for each method, and on this one."""
    methods = results["methods"]
    picture = new_figure(title, note, width=8.4, height=1.6 + 0.9 * len(methods))
    axes = picture.subplots()
    for line, found in enumerate(methods.values()):
        others = np.array(found["others"], float)
        heights = line + np.linspace(-0.22, 0.22, len(others))  # apart, so that none hides another
        axes.plot(others, heights, "o", color=CURVE, alpha=0.35, markersize=4, label="other test sides")
        axes.plot([found["mean"]] * 2, [line - 0.32, line + 0.32], color=CURVE, label="their mean")
        axes.plot(found["here"], line, "D", color="#b23a48", label="this test side")
    axes.set(yticks=range(len(methods)), ylim=(len(methods) - 0.5, -0.5), xlabel="AUC on test")
    axes.set_yticklabels([kind.replace("_", " ") for kind in methods])
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    picture.legend(once.values(), once.keys(), fontsize=8, loc="outside right upper")
    return picture


def _together(correlation: float) -> str:
    if not np.isfinite(correlation):
        return ""
    return (
        f"Over the splits the two methods' AUCs correlate with r = {correlation:.2f}: how far a third one is "
        "flattered does not follow. "
    )


def captions(results: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What stands under table and figure."""
    cohort = results["cohort"] + (" (SYNTHETIC images)" if results["is_synthetic"] else "")
    what = (
        f"Is the test side of {cohort} easier than others? The same simple methods, fitted and tested anew "
        f"on {results['num_splits']} other splits of its {results['num_images']} images by group. AUC on "
        "test; the splits share images, so this is how results scatter, not an interval of confidence. "
        f"{_together(results['correlation'])}Nothing is chosen by it. {NOT_A_DEVICE.capitalize()}."
    )
    alt = f"AUC on this and other test sides. {finding(results)}."
    return {
        "resplit.csv": {"caption": what, "alt": what},
        "resplit.png": {"caption": what, "alt": alt},
    }
