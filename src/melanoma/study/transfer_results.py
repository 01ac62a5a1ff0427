"""What is lost on a source that a network never saw: the honest figure for a new clinic."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma import config
from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.figures import COLORS, new_figure
from melanoma.evaluation.metrics import compute_metrics
from melanoma.schema import BENIGN, MALIGNANT, NOT_A_DEVICE
from melanoma.study import repeats
from melanoma.study.repeats import Draws, Repeats

METRIC = "auc_roc"
MEASURED = ("unseen", "seen_on_test", "unseen_on_test", "gap")
PAIRS = (("tuned", "baseline"), ("tuned", "colour"), ("baseline", "colour"))
WORDS = {
    "baseline": "the paper's network, the baseline",
    "tuned": "best of the search",
    "colour": "logistic regression on colours alone",
}
ANCHORS = Path(__file__).with_name("anchors.yaml")
COUNTS = ("source", "kind", "num_images", "num_malignant")
UNKNOWN = {"value": float("nan"), "low": float("nan"), "high": float("nan")}


def measure(seen: Repeats, unseen: Repeats, draws: Draws, *, min_groups: int) -> dict[str, dict[str, float]]:
    """The AUC of networks that learnt without a source, on its images, and what having seen it is worth.

    Args:
        seen: What networks that learnt from every source say of the source's images in the test side.
        unseen: What networks that learnt without it say of all its images, those of `seen` among them.
        draws: Of the intervals, over groups and networks together.
        min_groups: With an image of each class that an AUC needs; with fewer it is undefined.

    Returns:
        `unseen`: on all images. `seen_on_test`, `unseen_on_test` and `gap`: on those of the test side, the
        gap being `seen` minus `unseen`, paired. Each with `value`, `low`, `high`.
    """
    on_test = unseen.pick(seen.image_ids)
    found = dict.fromkeys(MEASURED, UNKNOWN)
    if count_groups(unseen) >= min_groups:
        found["unseen"] = auc(unseen, draws)
    if count_groups(on_test) >= min_groups:
        found["seen_on_test"], found["unseen_on_test"] = auc(seen, draws), auc(on_test, draws)
        found["gap"] = repeats.paired_difference(seen, on_test, draws)[METRIC]
    return found


def on_test(whole: dict[str, Repeats], colour: Repeats, draws: Draws) -> dict[str, dict[str, float]]:
    """AUC of each kind of network that learnt from every source, on the whole test side, and differences.

    Args:
        whole: By kind of network; the i-th of each kind share a seed.
        colour: What a regression on colours alone says of the same images, one row.
        draws: Of the intervals.

    Returns:
        By kind, `colour` among them; and `tuned_minus_baseline` and so on, paired, over as many networks as
        both kinds have.
    """
    found = {network: auc(of, draws) for network, of in whole.items()} | {"colour": auc(colour, draws)}
    for first, second in PAIRS:
        if first in whole and (second in whole or second == "colour"):
            if second == "colour":  # the same regression beside each network
                number = len(whole[first].probabilities)
                of_second = _networks(colour, np.repeat(colour.probabilities, number, axis=0))
            else:
                of_second = whole[second]
            found[f"{first}_minus_{second}"] = _less(whole[first], of_second, draws)
    return found


def gain(unseen: dict[str, Repeats], draws: Draws, *, min_groups: int) -> dict[str, float] | None:
    """What the best of the search has over the baseline on the images of a source that neither learnt from.

    Args:
        unseen: By kind of network; the i-th of each kind share a seed.
        draws: Of the intervals.
        min_groups: As for `measure`.

    Returns:
        The paired difference of AUC, over as many networks as both kinds have; None where one was not
        trained.
    """
    if {"tuned", "baseline"} - set(unseen):
        return None
    if count_groups(unseen["tuned"]) < min_groups:
        return UNKNOWN
    return _less(unseen["tuned"], unseen["baseline"], draws)


def _less(first: Repeats, second: Repeats, draws: Draws) -> dict[str, float]:
    """The paired difference of AUC, over as many networks as both have."""
    number = min(len(first.probabilities), len(second.probabilities))
    one, other = (_networks(of, of.probabilities[:number]) for of in (first, second))
    return repeats.paired_difference(one, other, draws)[METRIC]


def _networks(like: Repeats, probabilities: np.ndarray) -> Repeats:
    return Repeats(like.target, like.group_ids, probabilities, image_ids=like.image_ids)


def auc(networks: Repeats, draws: Draws) -> dict[str, float]:
    """`value`, `low` and `high` of the area under the ROC curve."""
    entry = repeats.measure(networks, draws)[METRIC]
    return {name: entry[name] for name in UNKNOWN}


def plain_auc(networks: Repeats) -> float:
    """The area under the ROC curve without an interval: the mean over the networks."""
    once = np.ones((1, len(networks.target)))
    areas = [
        compute_metrics(networks.target, probability, threshold=0.5, weights=once)[METRIC][0]
        for probability in networks.probabilities
    ]
    return float(np.mean(areas))


def count_groups(networks: Repeats) -> int:
    """Groups with an image of that class which fewer groups show."""
    shown = [set(networks.group_ids[networks.target == value]) for value in (BENIGN, MALIGNANT)]
    return min(map(len, shown))


def table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One line for each source and kind of network, AUCs in words."""
    lines = []
    for row in rows:
        counts = {name: row[name] for name in COUNTS}
        for network, found in (row["networks"] or {"": None}).items():
            words = {name: in_words(found[name]) if found else row["why_not"] for name in MEASURED}
            gained = in_words(row["gain"]) if network == "tuned" and row["gain"] else ""
            lines.append(counts | {"network": network} | words | {"unseen_less_baseline": gained})
    return pd.DataFrame(lines, columns=[*COUNTS, "network", *MEASURED, "unseen_less_baseline"])


def better(results: dict[str, Any]) -> pd.DataFrame:
    """Who has which AUC, with what test images; the figures of others last."""
    test, seeds = results["test"], results["num_seeds"]
    tested = f"test side of {results['cohort']}"
    lines = [
        {"what": WORDS[name], "networks": seeds.get(name, 1), "auc_roc": in_words(test[name])}
        for name in WORDS
        if name in test
    ]
    lines += [
        {
            "what": f"{WORDS[first]}, less {WORDS[second]}",
            "networks": min(seeds[one] for one in (first, second) if one in seeds),
            "auc_roc": in_words(test[f"{first}_minus_{second}"]),
        }
        for first, second in PAIRS
        if f"{first}_minus_{second}" in test
    ]
    lines = [line | {"tested_with": tested, "source": "measured here"} for line in lines]
    for anchor in config.read_yaml(ANCHORS)["anchors"]:
        lines.append(
            {"what": anchor["name"], "auc_roc": f"{anchor['auc_roc']:g}"}
            | {name: anchor[name] for name in ("tested_with", "source")}
        )
    columns = ["what", "networks", "auc_roc", "tested_with", "source"]
    return pd.DataFrame(lines, columns=columns).astype({"networks": "Int64"})


def figure(rows: Sequence[dict[str, Any]], *, title: str, note: str) -> Figure:
    """The AUC on each source that was left out, and on its test images with and without having seen it."""
    shown = [row for row in rows if row["networks"]]
    picture = new_figure(title, note, width=7.6, height=1.6 + 0.55 * max(len(shown), 1))
    axes = picture.subplots()
    axes.axvline(0.5, color="#bbbbbb", linewidth=1, linestyle="--")
    for line, row in enumerate(shown):
        for place, (network, found) in enumerate(row["networks"].items()):
            height = line + 0.3 * (place - (len(row["networks"]) - 1) / 2)
            entry, color = found["unseen"], COLORS[network]
            label = network if line == 0 else "_nolegend_"
            axes.plot([entry["low"], entry["high"]], [height, height], color=color, linewidth=1)
            axes.plot(entry["value"], height, "o", color=color, label=label)
            axes.plot(found["seen_on_test"]["value"], height, "|", color=color, markersize=10)
    names = [f"{row['source']} ({row['num_malignant']} of {row['num_images']})" for row in shown]
    axes.set(yticks=range(len(shown)), yticklabels=names, xlim=(0.2, 1), xlabel="AUC on the source left out")
    axes.invert_yaxis()
    axes.set_title("bars: the networks that had seen the source, on its test images", fontsize=8)
    if shown:
        axes.legend(fontsize=8, loc="lower left")
    return picture


def captions(results: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What stands under table and figure."""
    cohort = results["cohort"] + (" (SYNTHETIC images)" if results["is_synthetic"] else "")
    seeds = ", ".join(f"{number} of {kind}" for kind, number in results["num_seeds"].items())
    what = (
        f"Networks that learnt from {cohort} without one source, tested on all images of that source; "
        f"networks by kind: {seeds}. AUC with 95 % intervals over groups of images and networks. The gap "
        "compares with networks that had seen the source, on the same test images; without the source "
        "there were fewer images to learn from too. What the best of the search has over the baseline is of "
        "as many networks as both kinds have. The best of the search never learnt from the source either, "
        "but its hyperparameters were chosen on validation images of all sources. "
        f"{NOT_A_DEVICE.capitalize()}."
    )
    lines = [
        f"{row['source']}: {network} {in_words(found['unseen'])}"
        for row in results["sources"]
        for network, found in row["networks"].items()
    ]
    best = (
        f"Better than the baseline? Networks that learnt from all of {cohort}, on its test images, with 95 % "
        "intervals and paired differences; a difference is of as many networks as both kinds have, the first "
        "ones, and so need not be that of the means above it. The figures of others were measured on other "
        f"test images: they are for orientation only. {NOT_A_DEVICE.capitalize()}."
    )
    return {
        "better.csv": {"caption": best, "alt": best},
        "transfer.csv": {"caption": what, "alt": what},
        "transfer.png": {"caption": what, "alt": "AUC on the source left out. " + "; ".join(lines) + "."},
    }
