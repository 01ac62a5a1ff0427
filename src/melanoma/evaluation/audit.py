"""Whether a network looks at the lesion: how its scores change when the lesion goes, or something else comes.

All on the test images, at the operating point of the network. What an image without the lesion still tells
is told by its surroundings; what a hair or a ruler changes is not about the disease.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma.data import artefacts
from melanoma.evaluation import bootstrap
from melanoma.evaluation.figures import CURVE, new_figure
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.sections import Audit

PLAIN = "plain"
WITHOUT_LESION = ("lesion_black", "lesion_filled", "border_only")
MANY_FLIPPED = 0.2  # of decisions, from which an artefact is warned of
Score = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Audited:
    """The test images and the network that is asked about them.

    Attributes:
        rows: Columns `schema.SPLIT_COLUMNS`, one row an image.
        images: Shape `(num_images, size, size, 3)`, uint8.
        masks: By position in `images`: `(size, size)` bool, of those that have one.
        score: The network.
        point: Its operating point.
    """

    rows: pd.DataFrame
    images: np.ndarray
    masks: Mapping[int, np.ndarray]
    score: Score
    point: OperatingPoint

    def probability(self, images: np.ndarray) -> np.ndarray:
        """Calibrated, of any images."""
        return self.point.calibration.apply(self.score(images))


def variants(audited: Audited, settings: Audit) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, positions of the images and the changed images, one variant at a time."""
    masked = np.array(sorted(audited.masks), dtype=int)
    if len(masked):
        for name, change in (("lesion_black", artefacts.blacked), ("lesion_filled", artefacts.filled)):
            yield name, masked, np.stack([change(audited.images[at], audited.masks[at]) for at in masked])
    everyone = np.arange(len(audited.images))
    framed = [
        artefacts.border_only(image, border_fraction=settings.border_fraction) for image in audited.images
    ]
    yield "border_only", everyone, np.stack(framed)
    for name in artefacts.ARTEFACTS:
        pairs = zip(audited.images, audited.rows["image_id"], strict=True)
        drawn = [artefacts.lay_over(image, name, image_id) for image, image_id in pairs]
        yield name, everyone, np.stack(drawn)


def measure(audited: Audited, settings: Audit) -> dict[str, dict[str, Any]]:
    """By variant, and `plain` for the images as they are.

    Returns:
        `num_images`, `auc_roc` (`value`, `low`, `high`, by draws of groups), `mean_probability_change` and
        `flipped_fraction` (of decisions at the threshold), both against the plain images.
    """
    plain = audited.probability(audited.images)
    measured = {PLAIN: _measure_one(audited, np.arange(len(plain)), plain, plain, settings)}
    for name, positions, changed in variants(audited, settings):
        probability = audited.probability(changed)
        measured[name] = _measure_one(audited, positions, probability, plain[positions], settings)
    return measured


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
    rows: pd.DataFrame, probability: np.ndarray, references: Mapping[str, np.ndarray], settings: Audit
) -> dict[str, dict[str, Any]]:
    """By reference: its `auc_roc` on the test images, and `selected_minus_reference`, paired by draws.

    Args:
        rows: Columns `target` and `group_id`, of the test images.
        probability: Of the network.
        references: By name: probabilities.
        settings: `params.yaml: audit`.
    """
    return {
        name: {
            "auc_roc": _auc(rows, reference, settings),
            "selected_minus_reference": bootstrap.difference(
                rows["target"].to_numpy(),
                probability,
                reference,
                metric="auc_roc",
                weights=_weights(rows, settings),
            ),
        }
        for name, reference in references.items()
    }


def warnings(measured: dict[str, dict[str, Any]], references: dict[str, dict[str, Any]]) -> list[str]:
    """In words, what speaks against the network; empty when nothing does.

    Args:
        measured: From `measure`.
        references: From `compare`.
    """
    found = []
    for name in WITHOUT_LESION:
        auc = measured.get(name, {}).get("auc_roc")
        if auc is not None and auc["low"] > 0.5:
            found.append(
                f"{name}: without the lesion the AUC is still {with_interval(auc)}; what surrounds the "
                "lesion, or its outline, tells the label"
            )
    for name in artefacts.ARTEFACTS:
        share = measured[name]["flipped_fraction"]
        if share > MANY_FLIPPED:
            found.append(f"{name}: adding it turns {share:.0%} of the decisions")
    for name, reference in references.items():
        lead = reference["selected_minus_reference"]
        if not lead["low"] > 0:
            found.append(
                f"{name}: it is not shown that the network does better than this reference, whose AUC is "
                f"{with_interval(reference['auc_roc'])}; difference {with_interval(lead)}"
            )
    return found


def with_interval(entry: dict[str, float]) -> str:
    """`0.895 (0.749 to 0.993)`."""
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


def figure(
    measured: dict[str, dict[str, Any]], references: dict[str, dict[str, Any]], *, title: str, note: str
) -> Figure:
    """AUC of the plain images, of each variant and of the references, with intervals.

    Args:
        measured: From `measure`.
        references: From `compare`.
        title: Of the figure.
        note: Where the images come from.
    """
    rows = {name: entry["auc_roc"] for name, entry in measured.items()}
    rows |= {f"reference: {name}": entry["auc_roc"] for name, entry in references.items()}
    drawn = new_figure(title, note, width=6.4, height=1.6 + 0.3 * len(rows))
    axes = drawn.subplots()
    axes.axvline(0.5, color="#bbbbbb", linewidth=1, linestyle="--")
    for place, (name, auc) in enumerate(rows.items()):
        color = "#6c757d" if name.startswith("reference") else CURVE
        axes.plot([auc["low"], auc["high"]], [place, place], color=color, linewidth=1)
        axes.plot(auc["value"], place, "o", color=color)
    axes.set(yticks=range(len(rows)), yticklabels=list(rows), xlim=(0, 1.02), xlabel="AUC, 95 % interval")
    axes.invert_yaxis()
    return drawn
