"""Performance on a source that the networks were not trained on: an estimate for a new clinic."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma import config
from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.figures import COLORS, new_figure
from melanoma.evaluation.intervals import undefined_entry
from melanoma.evaluation.metrics import compute_metrics
from melanoma.schema import NEGATIVE, NOT_A_DEVICE, POSITIVE
from melanoma.study import repeats
from melanoma.study.repeats import PAPER_THRESHOLD, Bootstrap, SeedPredictions
from melanoma.study.report_folder import Captions

METRIC = "auc_roc"
MEASURED = ("unseen", "seen_on_test", "unseen_on_test", "gap")
BASELINE, BACKBONE, TUNED, COLOUR = "baseline", "backbone", "tuned", "colour"
PAIRS = (
    (BACKBONE, BASELINE),
    (TUNED, BASELINE),
    *((kind, COLOUR) for kind in (BACKBONE, TUNED, BASELINE)),
)
NAMES = {
    BASELINE: "the paper's network (baseline)",
    BACKBONE: "fine-tuned backbone",
    TUNED: "best network of the search",
    COLOUR: "logistic regression on colours alone",
}
ANCHORS = Path(__file__).with_name("anchors.yaml")
COUNTS = ("source", "kind", "num_images", "num_malignant")


def measure(
    seen: SeedPredictions, unseen: SeedPredictions, settings: Bootstrap, *, min_groups: int
) -> dict[str, dict[str, float]]:
    """The AUC on a source of networks that were not trained on it, and the gap to networks that were.

    Args:
        seen: Predictions for the source's test images by networks that were trained on all sources.
        unseen: Predictions for all images of the source by networks that were trained without it.
        settings: Settings of the bootstrap.
        min_groups: Minimum number of groups with an image of each class; with fewer, an AUC is undefined.

    Returns:
        `unseen`, on all images of the source; `seen_on_test`, `unseen_on_test` and `gap`, on its test images,
        where `gap` is the paired difference `seen` minus `unseen`. Each has `value`, `low` and `high`.
    """
    on_test = unseen.select(seen.image_ids)
    found = dict.fromkeys(MEASURED, undefined_entry(f"fewer than {min_groups} groups of a class"))
    if count_groups(unseen) >= min_groups:
        found["unseen"] = auc(unseen, settings)
    if count_groups(on_test) >= min_groups:
        found["seen_on_test"], found["unseen_on_test"] = auc(seen, settings), auc(on_test, settings)
        found["gap"] = repeats.paired_difference(seen, on_test, settings)[METRIC]
    return found


def measure_on_test(
    networks: dict[str, SeedPredictions], colour: SeedPredictions, settings: Bootstrap
) -> dict[str, dict[str, float]]:
    """AUC on the whole test set of networks that were trained on all sources, and paired differences.

    Args:
        networks: Predictions by kind of network; the i-th networks of all kinds share a seed.
        colour: Predictions of a regression on colours alone for the same images, one row.
        settings: Settings of the bootstrap.

    Returns:
        By kind, with `colour`; and differences such as `tuned_minus_baseline`, over as many networks as both
        kinds have.
    """
    found = {kind: auc(predictions, settings) for kind, predictions in networks.items()}
    found[COLOUR] = auc(colour, settings)
    for first, second in PAIRS:
        if first not in networks or (second != COLOUR and second not in networks):
            continue
        if second == COLOUR:  # the same regression beside each network
            number = len(networks[first].probabilities)
            other = colour.replace(np.repeat(colour.probabilities, number, axis=0))
        else:
            other = networks[second]
        found[f"{first}_minus_{second}"] = _difference(networks[first], other, settings)
    return found


def gain(
    unseen: dict[str, SeedPredictions], settings: Bootstrap, *, min_groups: int
) -> dict[str, dict[str, float]]:
    """The paired difference in AUC of each other kind of network and the baseline on a source left out.

    Args:
        unseen: Predictions by kind of network; the i-th networks of all kinds share a seed.
        settings: Settings of the bootstrap.
        min_groups: As for `measure`.

    Returns:
        By kind the difference over as many networks as both kinds have; empty without a baseline.
    """
    if BASELINE not in unseen:
        return {}
    if count_groups(unseen[BASELINE]) < min_groups:
        too_few = undefined_entry(f"fewer than {min_groups} groups of a class")
        return {kind: too_few for kind in unseen if kind != BASELINE}
    return {
        kind: _difference(mine, unseen[BASELINE], settings)
        for kind, mine in unseen.items()
        if kind != BASELINE
    }


def _difference(first: SeedPredictions, second: SeedPredictions, settings: Bootstrap) -> dict[str, float]:
    """The paired difference in AUC, over as many networks as both have."""
    number = min(len(first.probabilities), len(second.probabilities))
    one, other = (each.replace(each.probabilities[:number]) for each in (first, second))
    return repeats.paired_difference(one, other, settings)[METRIC]


def auc(predictions: SeedPredictions, settings: Bootstrap) -> dict[str, float]:
    """The area under the ROC curve, see `repeats.measure`."""
    return repeats.measure(predictions, settings)[METRIC]


def mean_auc(predictions: SeedPredictions) -> float:
    """The area under the ROC curve, averaged over the networks, without an interval."""
    once = np.ones((1, len(predictions.target)))
    areas = [
        compute_metrics(predictions.target, probability, threshold=PAPER_THRESHOLD, weights=once)[METRIC][0]
        for probability in predictions.probabilities
    ]
    return float(np.mean(areas))


def count_groups(predictions: SeedPredictions) -> int:
    """Number of groups with an image of the rarer class."""
    by_class = [set(predictions.group_ids[predictions.target == value]) for value in (NEGATIVE, POSITIVE)]
    return min(map(len, by_class))


def source_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One line per source and kind of network, with AUCs and intervals."""
    lines = []
    for row in rows:
        counts = {name: row[name] for name in COUNTS}
        for network, found in (row["networks"] or {"": None}).items():
            words = {name: in_words(found[name]) if found else row["why_not"] for name in MEASURED}
            gained = in_words(row["gain"][network]) if network in row["gain"] else ""
            lines.append(counts | {"network": network} | words | {"minus_baseline": gained})
    return pd.DataFrame(lines, columns=[*COUNTS, "network", *MEASURED, "minus_baseline"])


def comparison_table(results: dict[str, Any]) -> pd.DataFrame:
    """AUC on the test set by method, paired differences, and figures from the literature."""
    test, seeds = results["test"], results["num_seeds"]
    tested = f"test set of {results['cohort']}"
    lines = [
        {"method": NAMES[name], "networks": seeds.get(name, 1), "auc_roc": in_words(test[name])}
        for name in NAMES
        if name in test
    ]
    lines += [
        {
            "method": f"{NAMES[first]} minus {NAMES[second]}",
            "networks": min(seeds[one] for one in (first, second) if one in seeds),
            "auc_roc": in_words(test[f"{first}_minus_{second}"]),
        }
        for first, second in PAIRS
        if f"{first}_minus_{second}" in test
    ]
    lines = [line | {"tested_on": tested, "reference": "measured here"} for line in lines]
    for anchor in config.read_yaml(ANCHORS)["anchors"]:
        lines.append(
            {"method": anchor["name"], "auc_roc": f"{anchor['auc_roc']:g}"}
            | {name: anchor[name] for name in ("tested_on", "reference")}
        )
    columns = ["method", "networks", "auc_roc", "tested_on", "reference"]
    return pd.DataFrame(lines, columns=columns).astype({"networks": "Int64"})


def figure(rows: Sequence[dict[str, Any]], *, title: str, note: str) -> Figure:
    """The AUC on each source left out, beside that of networks trained on it."""
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
    axes.set_title("bars: networks trained on the source, on its test images", fontsize=8)
    if shown:
        axes.legend(fontsize=8, loc="lower left")
    return picture


def captions(results: dict[str, Any]) -> Captions:
    """By file name: `caption` and `alt`."""
    cohort = results["cohort"] + (" (SYNTHETIC images)" if results["is_synthetic"] else "")
    seeds = ", ".join(f"{number} of {kind}" for kind, number in results["num_seeds"].items())
    device = f"{NOT_A_DEVICE.capitalize()}."
    left_out = (
        f"Networks trained on {cohort} without one source, tested on all images of that source; networks by "
        f"kind: {seeds}. AUC with 95 % intervals over groups of images, for these networks. `gap` compares "
        "with networks trained on all sources, on the same test images; without the source there were also "
        "fewer training images. The difference from the baseline uses as many networks as both kinds have. "
        "The best of the search was not trained on the source either, but its "
        f"hyperparameters were chosen on held-out images of all sources. {device}"
    )
    lines = [
        f"{row['source']}: {network} {in_words(found['unseen'])}"
        for row in results["sources"]
        for network, found in row["networks"].items()
    ]
    whole = (
        f"Better than the baseline? Networks trained on all of {cohort}, on its test set, with 95 % "
        "intervals over groups of images and paired differences, for these networks. A difference uses as "
        "many networks as both kinds have, the first "
        "ones, and can therefore deviate from the difference of the means above. Figures from the "
        f"literature were measured on other test images and are for orientation only. {device}"
    )
    return {
        "better.csv": {"caption": whole, "alt": whole},
        "transfer.csv": {"caption": left_out, "alt": left_out},
        "transfer.png": {
            "caption": left_out,
            "alt": "AUC on the source left out. " + "; ".join(lines) + ".",
        },
    }
