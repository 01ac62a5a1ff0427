"""Figures of a dataset's card, by class; a function returns None if there is nothing to show."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from melanoma.data.checks.card_tables import QUALITY, class_of
from melanoma.evaluation.figures import new_figure
from melanoma.evaluation.shortcuts import CHANCE, Shortcut

CLASS_COLORS = {"negative": "#6c757d", "positive": "#b3202c"}
NUM_BINS = 24
YEARS_PER_BIN = 5
NUM_PANELS_A_ROW = 3
ON_LOG_SCALE = ("num_bytes", "sharpness")  # they span powers of ten
# Drawn on a log scale: most images lie in the first bin, and the other bins are of interest.
MOSTLY_ZERO = ("clipped_fraction", "dark_border_fraction", "hair_fraction", "ink_fraction")
SHOWN_ELSEWHERE = ("width", "height")


def draw_figures(
    images: pd.DataFrame, shortcuts: Sequence[Shortcut], *, dataset: str, is_synthetic: bool
) -> dict[str, Figure]:
    """All figures that the data allow, by name: `age`, `resolution`, `quality`, `shortcuts`.

    Args:
        images: Images of `data.checks.card.CardData`.
        shortcuts: Result of `shortcuts.find_shortcuts`.
        dataset: Name of the dataset, for the note under each figure.
        is_synthetic: Whether the note says that the images are synthetic.
    """
    note = f"dataset {dataset}" + (", SYNTHETIC images" if is_synthetic else "")
    drawn = {
        "age": age_figure(images, note=note),
        "resolution": resolution_figure(images, note=note),
        "quality": quality_figure(images, note=note),
        "shortcuts": shortcuts_figure(shortcuts, note=note),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def save_figures(figures: dict[str, Figure], folder: Path) -> None:
    """Write every figure as `<name>.png`."""
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=110)


def age_figure(images: pd.DataFrame, *, note: str) -> Figure | None:
    """Histogram of ages in steps of five years, as a share of each class; None if no age is known."""
    known = images[images["age_years"].notna()]
    if known.empty:
        return None
    figure = new_figure("age by class", note, width=6.4, height=3.8)
    axes = figure.subplots()
    highest = float(known["age_years"].max()) + YEARS_PER_BIN
    _draw_shares(axes, known, "age_years", bins=np.arange(0, highest + 1, YEARS_PER_BIN))
    axes.set(xlabel="age (years)", ylabel="fraction of the class")
    axes.legend(fontsize=8)
    return figure


def resolution_figure(images: pd.DataFrame, *, note: str) -> Figure | None:
    """Pairs of width and height with area by number of images; None if all images have the same size."""
    known = images[images["width"].notna()].assign(kind=class_of(images))
    counts = known.groupby(["width", "height", "kind"]).size().rename("images").reset_index()
    if len(counts[["width", "height"]].drop_duplicates()) < 2:
        return None
    figure = new_figure("resolution by class (area: number of images)", note, width=6.4)
    axes = figure.subplots()
    for name, color in CLASS_COLORS.items():
        part = counts[counts["kind"] == name]
        area = 12 + 900 * part["images"] / counts["images"].max()
        axes.scatter(
            part["width"].astype(float),
            part["height"].astype(float),
            s=area,
            alpha=0.45,
            color=color,
            label=name,
        )
    axes.set(xlabel="width (pixels)", ylabel="height (pixels)")
    for handle in axes.legend(fontsize=8, loc="lower right").legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([40])
    return figure


def quality_figure(images: pd.DataFrame, *, note: str) -> Figure | None:
    """A histogram per quality measure, as a share of each class; None if nothing was measured."""
    given = [name for name in QUALITY if name not in SHOWN_ELSEWHERE and images[name].notna().any()]
    if not given:
        return None
    num_rows = -(-len(given) // NUM_PANELS_A_ROW)
    figure = new_figure(
        "image quality by class (fraction of the class)", note, width=10, height=1 + 2.3 * num_rows
    )
    panels = figure.subplots(num_rows, NUM_PANELS_A_ROW, squeeze=False).ravel()
    for axes, name in zip(panels, given, strict=False):
        known = images[images[name].notna()]
        bins = _bins(known[name].to_numpy(dtype=float), is_log=name in ON_LOG_SCALE)
        _draw_shares(axes, known, name, bins=bins)
        axes.set_xlabel(QUALITY[name], fontsize=9)
        axes.tick_params(labelsize=8)
        _scale(axes, name, bins)
    for axes in panels[len(given) :]:
        axes.set_axis_off()
    figure.axes[0].legend(fontsize=8)
    return figure


def _scale(axes: Axes, name: str, bins: np.ndarray) -> None:
    if name in ON_LOG_SCALE:
        axes.set_xscale("log")
        ticks = sorted({float(f"{edge:.2g}") for edge in np.geomspace(bins[0], bins[-1], 5)})
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    if name in MOSTLY_ZERO:
        axes.set_yscale("log")


def _bins(values: np.ndarray, *, is_log: bool) -> np.ndarray:
    """Bin edges over all values. On a log scale, zeros count as the smallest positive value."""
    if is_log:
        values = np.log10(values[values > 0]) if (values > 0).any() else np.zeros(1)
    edges = np.histogram_bin_edges(values, NUM_BINS)
    return 10**edges if is_log else edges


def _draw_shares(axes: Axes, images: pd.DataFrame, column: str, *, bins: np.ndarray) -> None:
    classes = class_of(images)
    for name, color in CLASS_COLORS.items():
        values = images.loc[classes == name, column].to_numpy(dtype=float).clip(bins[0], bins[-1])
        if len(values):
            axes.hist(
                values,
                bins=bins.tolist(),
                weights=np.full(len(values), 1 / len(values)),
                histtype="step",
                linewidth=1.4,
                color=color,
                label=f"{name} ({len(values):,})",
            )


def shortcuts_figure(shortcuts: Sequence[Shortcut], *, note: str) -> Figure | None:
    """AUC and interval of each set of facts, compared with chance; None if none is defined."""
    defined = [found for found in shortcuts if found.problem is None]
    if not defined:
        return None
    figure = new_figure("how well facts without the lesion predict the label", note, width=7.4, height=3.6)
    axes = figure.subplots()
    places = np.arange(len(defined))[::-1]
    auc = np.array([found.auc_roc for found in defined])
    lows, highs = np.array([(found.low, found.high) for found in defined]).T
    reach = np.maximum([auc - lows, highs - auc], 0)
    axes.axvline(CHANCE, color="#bbbbbb", linestyle="--", linewidth=1)
    axes.errorbar(auc, places, xerr=reach, fmt="o", color="#0b6e99", capsize=3)
    axes.set_yticks(places, [found.facts.name for found in defined], fontsize=9)
    axes.set(
        xlabel="AUC, cross-validated by group, with 95 % interval (0.5 is chance)",
        xlim=(min(0.3, lows.min() - 0.02), 1.02),
    )
    axes.set_ylim(-0.6, len(defined) - 0.4)
    return figure
