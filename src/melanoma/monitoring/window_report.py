"""The report of a window: figures and one HTML page without anything to load."""

import base64
import io
from collections.abc import Mapping
from importlib import resources
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from melanoma.schema import NOT_A_DEVICE

TEMPLATE = "window.html.j2"
NUM_SHOWN = 6  # features that are drawn, the most shifted first


def draw(reference: pd.DataFrame, window: pd.DataFrame, names: list[str]) -> Figure:
    """Cumulative distribution of some features in the reference and in the window.

    Args:
        reference: One column per feature.
        window: The same columns.
        names: Features to draw, at least one.
    """
    shown = names[:NUM_SHOWN]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(3.4 * columns, 2.4 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, name in zip(axes, shown, strict=False):
            for label, table, style in (("reference", reference, "--"), ("window", window, "-")):
                values = np.sort(table[name].dropna().to_numpy(float))
                if len(values):
                    axis.step(values, np.arange(1, len(values) + 1) / len(values), style, label=label)
            axis.set(title=name, ylim=(0, 1.02), ylabel="share of rows at or below")
        axes[0].legend(loc="lower right")
        for axis in axes[len(shown) :]:
            axis.set_axis_off()
    return figure


def render(result: Mapping[str, Any], figure: Figure | None) -> str:
    """The page of a window.

    Args:
        result: Content of the JSON file of a window.
        figure: Result of `draw`; None where nothing was compared.
    """
    text = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(text)
    return template.render(result=result, figure=_encoded(figure), disclaimer=NOT_A_DEVICE)


def _encoded(figure: Figure | None) -> str | None:
    if figure is None:
        return None
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return base64.b64encode(stream.getvalue()).decode()
