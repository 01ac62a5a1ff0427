"""Coordinates of the small SVG charts, which the page draws in its own colours, light or dark."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from melanoma.evaluation.bootstrap import in_words
from melanoma.schema import MODEL_NAMES

BAR_WIDTH = 200.0
SIDE = 220.0  # side of the square with the ROC curves
CHANCE = 0.5  # AUC; the axis begins here unless an interval reaches below


@dataclass(frozen=True)
class Bar:
    """An AUC with its interval, in units of the drawing; None where it is undefined."""

    name: str
    words: str
    is_selected: bool
    low: float | None
    value: float | None
    high: float | None


@dataclass(frozen=True)
class Bars:
    """Bars on one axis.

    Attributes:
        bars: Bars from top to bottom.
        chance: Position of an AUC of 0.5.
        ends: Labels of both ends of the axis.
    """

    bars: list[Bar]
    chance: float
    ends: tuple[str, str]


def auc_bars(headline: Mapping[str, Any], *, names: Mapping[str, str]) -> Bars:
    """The AUC of both models and of the references on one axis that ends at 1.

    Args:
        headline: Headline of a cohort, see `evaluation.headline`.
        names: Labels of models and references; those without a label are left out.
    """
    found = {model: headline["metrics"][model]["auc_roc"] for model in MODEL_NAMES}
    found |= {name: entry["auc_roc"] for name, entry in headline["references"].items()}
    shown = {name: entry for name, entry in found.items() if name in names}
    lows = [entry["low"] for entry in shown.values() if entry["low"] is not None]
    start = min([CHANCE, *(int(low * 10) / 10 for low in lows)])

    def place(value: float | None) -> float | None:
        return None if value is None else round((value - start) / (1 - start) * BAR_WIDTH, 1)

    return Bars(
        bars=[
            Bar(
                names[name],
                in_words(entry),
                name == headline["selected"],
                *(place(entry[end]) for end in ("low", "value", "high")),
            )
            for name, entry in shown.items()
        ],
        chance=round((CHANCE - start) / (1 - start) * BAR_WIDTH, 1),
        ends=(f"{start:.1f}", "1.0"),
    )


def roc_path(curve: Mapping[str, str]) -> str:
    """The attribute `d` of a ROC curve in a square of `SIDE`; empty where it is undefined.

    Args:
        curve: Coordinates of both axes as text, as in the headline.
    """
    points = list(
        zip(_numbers(curve["false_positive_fraction"]), _numbers(curve["sensitivity"]), strict=True)
    )
    if any(math.isnan(value) for point in points for value in point):  # a class is absent
        return ""
    corners = (f"{x * SIDE:.1f} {(1 - y) * SIDE:.1f}" for x, y in points)
    return f"M{' L'.join(corners)}"


def _numbers(words: str) -> Sequence[float]:
    return [float(word) for word in words.split()]
