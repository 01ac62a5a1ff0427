"""Whether a network looks at the lesion: how its scores change when the lesion goes, or something else comes.

All on the test images, at the operating point of the network. What an image without the lesion still tells
is told by its surroundings, or by the hole: a lesion that is covered still shows how large it was. What a
hair or a ruler changes is not about the disease.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma.config.evaluation import Audit
from melanoma.data import artefacts
from melanoma.evaluation import bootstrap
from melanoma.evaluation.figures import CURVE, new_figure
from melanoma.schema import align
from melanoma.scoring.operating_point import OperatingPoint

PLAIN = "plain"
CHANCE = 0.5
BLOCK = 256  # changed images in memory at once
Score = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Audited:
    """The test images and the network that is asked about them.

    Attributes:
        rows: Columns `schema.SPLIT_COLUMNS`; row i describes image i, as both come from one `packed.Part`.
        images: Shape `(num_images, size, size, 3)`, uint8.
        masks: By image_id: `(size, size)` bool, of those that have one.
        score: The network.
        point: Its operating point.
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

    def probability(self, images: np.ndarray) -> np.ndarray:
        """Calibrated, of any images."""
        return self.point.calibration.apply(self.score(images))


@dataclass(frozen=True)
class Variant:
    """The images changed in one way.

    Attributes:
        name: For people, and in `audit.json`.
        positions: Of the images that can be changed so.
        change: From a position to the changed image.
    """

    name: str
    positions: np.ndarray
    change: Callable[[int], np.ndarray]


def variants(audited: Audited, settings: Audit) -> list[Variant]:
    """All that the network is asked; without masks only what needs none."""
    images, image_ids = audited.images, audited.rows["image_id"].tolist()

    def black(at: int) -> np.ndarray:
        return artefacts.blacked(images[at], audited.masks[image_ids[at]])

    def filled(at: int) -> np.ndarray:
        return artefacts.filled(images[at], audited.masks[image_ids[at]])

    def framed(at: int) -> np.ndarray:
        return artefacts.border_only(images[at], border_fraction=settings.border_fraction)

    def overlaid(name: str, at: int) -> np.ndarray:
        return artefacts.lay_over(images[at], name, image_ids[at])

    masked, everyone = audited.masked, np.arange(len(images))
    found = [
        Variant("lesion_black", masked, black),
        Variant("lesion_filled", masked, filled),
        Variant("border_only", everyone, framed),
        *(Variant(name, everyone, partial(overlaid, name)) for name in artefacts.ARTEFACTS),
    ]
    return [variant for variant in found if len(variant.positions)]


def measure(audited: Audited, settings: Audit) -> dict[str, dict[str, Any]]:
    """By variant, and `plain` for the images as they are.

    Returns:
        `num_images`, `auc_roc` (`value`, `low`, `high`, by draws of groups), `mean_probability_change` and
        `flipped_fraction` (of decisions at the threshold), both against the plain images.
    """
    plain = audited.probability(audited.images)
    measured = {PLAIN: _measure_one(audited, np.arange(len(plain)), plain, plain, settings)}
    for variant in variants(audited, settings):
        probability = _probability_of(audited, variant)
        at = variant.positions
        measured[variant.name] = _measure_one(audited, at, probability, plain[at], settings)
    return measured


def _probability_of(audited: Audited, variant: Variant) -> np.ndarray:
    """Calibrated, of all changed images; only a block of them is held at a time."""
    blocks = [variant.positions[start : start + BLOCK] for start in range(0, len(variant.positions), BLOCK)]
    return np.concatenate(
        [audited.probability(np.stack([variant.change(at) for at in block])) for block in blocks]
    )


def lesion_area(audited: Audited, settings: Audit) -> dict[str, Any] | None:
    """How well the size of the mask alone tells the label: what a covered lesion still shows.

    Returns:
        `num_images` and `auc_roc` of "the larger, the more malignant"; None without masks.
    """
    rows = audited.rows.iloc[audited.masked]
    if rows.empty:
        return None
    area = np.array([audited.masks[image_id].mean() for image_id in rows["image_id"]])
    return {"num_images": len(rows), "auc_roc": _auc(rows, area, settings)}


def _measure_one(
    audited: Audited, positions: np.ndarray, probability: np.ndarray, plain: np.ndarray, settings: Audit
) -> dict[str, Any]:
    rows, threshold = audited.rows.iloc[positions], audited.point.threshold
    return {
        "num_images": len(rows),
        "auc_roc": _auc(rows, probability, settings),
        "mean_probability_change": float((probability - plain).mean()),
        "flipped_fraction": float(((probability >= threshold) != (plain >= threshold)).mean()),
    }


def _auc(rows: pd.DataFrame, probability: np.ndarray, settings: Audit) -> dict[str, float]:
    target, weights = rows["target"].to_numpy(), _weights(rows, settings)
    return bootstrap.metrics_with_intervals(target, probability, threshold=0.5, weights=weights)["auc_roc"]


def _weights(rows: pd.DataFrame, settings: Audit) -> np.ndarray:
    return bootstrap.draw_weights(
        rows["group_id"].to_numpy(), num_draws=settings.num_bootstrap_draws, seed=settings.seed
    )


def compare(
    rows: pd.DataFrame, probability: pd.Series, references: Mapping[str, pd.Series], settings: Audit
) -> dict[str, dict[str, Any]]:
    """By reference: its `auc_roc` on the test images, and `selected_minus_reference`, paired by draws.

    Args:
        rows: Columns `image_id`, `target` and `group_id`, of the test images.
        probability: Probabilities of the network, indexed by image_id.
        references: By name: probabilities, indexed by image_id.
        settings: `params.yaml: audit`.

    Raises:
        DataError: A network or reference was asked about other images.
    """
    image_ids = rows["image_id"]
    network = align(probability, image_ids, what="The scores of the network").to_numpy()
    found = {
        name: align(reference, image_ids, what=f"The scores of {name}").to_numpy()
        for name, reference in references.items()
    }
    return {
        name: {
            "auc_roc": _auc(rows, reference, settings),
            "selected_minus_reference": bootstrap.difference(
                rows["target"].to_numpy(),
                network,
                reference,
                metric="auc_roc",
                weights=_weights(rows, settings),
            ),
        }
        for name, reference in found.items()
    }


def warnings(found: Mapping[str, Any], *, max_flipped_fraction: float) -> list[str]:
    """In words, what speaks against the network; empty when nothing does.

    Args:
        found: `variants` from `measure`, `lesion_area`, and `references` from `compare`.
        max_flipped_fraction: Of decisions, that one artefact may turn.
    """
    said = _without_lesion(found["variants"], found["lesion_area"])
    for name in artefacts.ARTEFACTS:
        share = found["variants"][name]["flipped_fraction"]
        if share > max_flipped_fraction:
            said.append(f"{name}: adding it turns {share:.0%} of the decisions")
    for name, reference in found["references"].items():
        lead = reference["selected_minus_reference"]
        if not lead["low"] > 0:
            said.append(
                f"{name}: it is not shown that the network does better than this reference, whose AUC is "
                f"{bootstrap.in_words(reference['auc_roc'])}; difference {bootstrap.in_words(lead)}"
            )
    return said


def _without_lesion(variants: Mapping[str, Any], area: Mapping[str, Any] | None) -> list[str]:
    instead = {"border_only": "the skin, the lens, or lesions that reach the frame tell the label"}
    said = []
    if area is None:
        said.append("no image has a mask: whether the network looks at the lesion could hardly be asked")
    else:
        hole = f"what surrounds it tells the label, or the outline left; its size alone has {_in_words(area)}"
        instead |= dict.fromkeys(("lesion_black", "lesion_filled"), hole)
    for name, why in instead.items():
        if variants[name]["auc_roc"]["low"] > CHANCE:
            said.append(
                f"{name}: without the lesion the network still has {_in_words(variants[name])}; {why}"
            )
    return said


def _in_words(entry: Mapping[str, Any]) -> str:
    return f"an AUC of {bootstrap.in_words(entry['auc_roc'])}"


def figure(found: Mapping[str, Any], *, title: str, note: str) -> Figure:
    """AUC of the plain images, of each variant, of the lesion's area and of the references, with intervals.

    Args:
        found: As for `warnings`.
        title: Of the figure.
        note: Where the images come from.
    """
    rows = {name: entry["auc_roc"] for name, entry in found["variants"].items()}
    if found["lesion_area"]:
        rows["reference: lesion's area"] = found["lesion_area"]["auc_roc"]
    rows |= {f"reference: {name}": entry["auc_roc"] for name, entry in found["references"].items()}
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
