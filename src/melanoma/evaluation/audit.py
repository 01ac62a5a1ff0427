"""Whether a network looks at the lesion: how its scores change when the lesion is removed or artefacts added.

Everything is measured on test images at the network's operating point. An AUC without the lesion comes from
its surroundings or from the shape of the hole: a covered lesion still shows its size. A change caused by a
hair or a ruler has nothing to do with the disease.

One view of each image is scored, also where the served score is a mean over views: nine variants of all test
images would take too long otherwise. So plain images may have another AUC here than in `metrics.json`.
References are compared with what is served.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma.config.evaluation import Audit
from melanoma.data import artefacts
from melanoma.evaluation import bootstrap, intervals
from melanoma.evaluation.figures import CURVE, new_figure
from melanoma.schema import REFERENCE_NAMES, align
from melanoma.scoring.operating_point import OperatingPoint

PLAIN = "plain"
SIZE = REFERENCE_NAMES[2]
CHANCE = 0.5
BLOCK = 256  # changed images in memory at once
Score = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Audited:
    """The test images and the audited network.

    Attributes:
        rows: Columns `schema.SPLIT_COLUMNS`; row i describes image i, as both come from one `packed.Part`.
        images: Shape `(num_images, size, size, 3)`, uint8.
        masks: Masks by image_id, each `(size, size)`, bool; images without a mask are absent.
        score: Function of the network from images to scores.
        point: Operating point of the network.
    """

    rows: pd.DataFrame
    images: np.ndarray
    masks: Mapping[str, np.ndarray]
    score: Score
    point: OperatingPoint

    @property
    def masked(self) -> np.ndarray:
        """Positions of the images that have a mask."""
        return np.flatnonzero(self.rows["image_id"].isin(list(self.masks)))

    @cached_property
    def plain(self) -> np.ndarray:
        """Calibrated probabilities of the unchanged images."""
        return self.probability(self.images)

    def chosen(self, num: int) -> np.ndarray:
        """Positions of at most `num` images, rising: those whose ids have the smallest hashes."""
        hashed = [hashlib.sha256(name.encode()).hexdigest() for name in self.rows["image_id"]]
        return np.sort(np.argsort(np.array(hashed))[:num])

    def probability(self, images: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of any images."""
        return self.point.calibration.apply(self.score(images))


@dataclass(frozen=True)
class Variant:
    """One way to change the images.

    Attributes:
        name: Name in `audit.json` and figures.
        positions: Positions of the images that can be changed in this way.
        change: Function from a position to the changed image.
    """

    name: str
    positions: np.ndarray
    change: Callable[[int], np.ndarray]


def variants(audited: Audited, settings: Audit) -> list[Variant]:
    """All variants of at most `settings.max_images` images; without masks only those that need none."""
    images, image_ids = audited.images, audited.rows["image_id"].tolist()

    def black(at: int) -> np.ndarray:
        return artefacts.blacked(images[at], audited.masks[image_ids[at]])

    def filled(at: int) -> np.ndarray:
        return artefacts.filled(images[at], audited.masks[image_ids[at]])

    def framed(at: int) -> np.ndarray:
        return artefacts.border_only(images[at], border_fraction=settings.border_fraction)

    def overlaid(name: str, at: int) -> np.ndarray:
        return artefacts.lay_over(images[at], name, image_ids[at])

    everyone = audited.chosen(settings.max_images)
    masked = np.intersect1d(everyone, audited.masked)
    found = [
        Variant("lesion_black", masked, black),
        Variant("lesion_filled", masked, filled),
        Variant("border_only", everyone, framed),
        *(Variant(name, everyone, partial(overlaid, name)) for name in artefacts.ARTEFACTS),
    ]
    return [variant for variant in found if len(variant.positions)]


def measure(audited: Audited, settings: Audit) -> dict[str, dict[str, Any]]:
    """Measure the network on each variant, and as `plain` on the unchanged images.

    Returns:
        By variant: `num_images`, `auc_roc` (`value`, `low`, `high`), and compared with the plain images
        `mean_probability_change` and `flipped_fraction` (of decisions at the threshold).
    """
    plain = audited.plain
    measured = {PLAIN: _measure_one(audited, np.arange(len(plain)), plain, plain)}
    for variant in variants(audited, settings):
        probability = _probability_of(audited, variant)
        at = variant.positions
        measured[variant.name] = _measure_one(audited, at, probability, plain[at])
    return measured


def _probability_of(audited: Audited, variant: Variant) -> np.ndarray:
    """Calibrated probabilities of all changed images; one block of images is in memory at a time."""
    blocks = [variant.positions[start : start + BLOCK] for start in range(0, len(variant.positions), BLOCK)]
    return np.concatenate(
        [audited.probability(np.stack([variant.change(at) for at in block])) for block in blocks]
    )


def _measure_one(
    audited: Audited, positions: np.ndarray, probability: np.ndarray, plain: np.ndarray
) -> dict[str, Any]:
    rows, threshold = audited.rows.iloc[positions], audited.point.threshold
    return {
        "num_images": len(rows),
        "auc_roc": _auc(rows, probability),
        "mean_probability_change": float((probability - plain).mean()),
        "flipped_fraction": float(((probability >= threshold) != (plain >= threshold)).mean()),
    }


def _auc(rows: pd.DataFrame, probability: np.ndarray) -> intervals.Entry:
    return intervals.auc(rows["target"].to_numpy(), probability, rows["group_id"].to_numpy())


def compare(
    rows: pd.DataFrame, probability: pd.Series, references: Mapping[str, pd.Series]
) -> dict[str, dict[str, Any]]:
    """Compare the network with references on the test images.

    Args:
        rows: Test images; columns `image_id`, `target` and `group_id`.
        probability: Probabilities of the network, indexed by image_id.
        references: Probabilities of each reference, indexed by image_id; nan where it has no answer, such as
            the size of a lesion without a mask.

    Returns:
        By reference: `num_images` with an answer, its `auc_roc`, and the paired difference
        `selected_minus_reference` on them. A reference without answers for both classes is absent.

    Raises:
        DataError: The network or a reference scored other images.
    """
    image_ids = rows["image_id"]
    network = align(probability, image_ids, what="The scores of the network").to_numpy()
    found = {
        name: align(reference, image_ids, what=f"The scores of {name}").to_numpy()
        for name, reference in references.items()
    }
    compared = {}
    for name, reference in found.items():
        has_answer = ~np.isnan(reference)
        if rows.loc[has_answer, "target"].nunique() == 2:
            compared[name] = _compare_one(rows[has_answer], network[has_answer], reference[has_answer])
    return compared


def _compare_one(rows: pd.DataFrame, network: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    return {
        "num_images": len(rows),
        "auc_roc": _auc(rows, reference),
        "selected_minus_reference": intervals.auc_difference(
            rows["target"].to_numpy(), network, reference, rows["group_id"].to_numpy()
        ),
    }


def warnings(found: Mapping[str, Any], *, max_flipped_fraction: float) -> list[str]:
    """Findings against the network, as sentences.

    Args:
        found: `variants` from `measure`, and `references` from `compare`.
        max_flipped_fraction: Largest fraction of decisions that one artefact may flip without a warning.
    """
    said = _without_lesion(found["variants"], found["references"].get(SIZE))
    for name in artefacts.ARTEFACTS:
        share = found["variants"][name]["flipped_fraction"]
        if share > max_flipped_fraction:
            said.append(f"{name}: adding it changes {share:.0%} of the decisions")
    for name, reference in found["references"].items():
        lead = reference["selected_minus_reference"]
        if not lead["low"] > 0:
            said.append(
                f"{name}: the network is not significantly better than this reference, whose AUC is "
                f"{bootstrap.in_words(reference['auc_roc'])}; difference {bootstrap.in_words(lead)}"
            )
    return said


def _without_lesion(variants: Mapping[str, Any], size: Mapping[str, Any] | None) -> list[str]:
    instead = {
        "border_only": "the surrounding skin, the lens, or lesions that reach the border predict the label"
    }
    said = []
    covered = [name for name in ("lesion_black", "lesion_filled") if name in variants]
    if not covered:
        said.append("no image has a mask, so only part of the audit could be done")
    hole = "the surroundings or the remaining outline predict the label"
    if size is not None:
        hole += f"; the lesion's size alone has {_in_words(size)}"
    instead |= dict.fromkeys(covered, hole)
    for name, why in instead.items():
        auc = variants[name]["auc_roc"]
        if auc["low"] > CHANCE or auc["value"] == 1:  # without an interval, but no better
            said.append(
                f"{name}: without the lesion the network still has {_in_words(variants[name])}; {why}"
            )
    return said


def _in_words(entry: Mapping[str, Any]) -> str:
    return f"an AUC of {bootstrap.in_words(entry['auc_roc'])}"


def auc_by_images(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The AUC with its interval on plain images, on each variant and of each reference.

    Args:
        found: Results, see `warnings`.
    """
    rows = {name: entry["auc_roc"] for name, entry in found["variants"].items()}
    return rows | {f"reference: {name}": entry["auc_roc"] for name, entry in found["references"].items()}


def figure(found: Mapping[str, Any], *, title: str, note: str) -> Figure:
    """Draw the AUCs of plain images, variants and references with their intervals.

    Args:
        found: Results, see `warnings`.
        title: Title of the figure.
        note: Origin of the images.
    """
    rows = auc_by_images(found)
    drawn = new_figure(title, note, width=6.4, height=1.6 + 0.3 * len(rows))
    axes = drawn.subplots()
    axes.axvline(CHANCE, color="#bbbbbb", linewidth=1, linestyle="--")
    for place, (name, auc) in enumerate(rows.items()):
        color = "#6c757d" if name.startswith("reference") else CURVE
        axes.plot([auc["low"], auc["high"]], [place, place], color=color, linewidth=1)
        axes.plot(auc["value"], place, "o", color=color)
    axes.set(yticks=range(len(rows)), yticklabels=list(rows), xlim=(0, 1.02), xlabel="AUC, 95 % interval")
    axes.invert_yaxis()
    return drawn
