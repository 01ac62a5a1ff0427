import io
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from melanoma.data.checks.card_tables import QUALITY
from melanoma.evaluation.data_figures import (
    CLASS_COLORS,
    age_figure,
    draw_figures,
    quality_figure,
    resolution_figure,
    save_figures,
    shortcuts_figure,
)
from melanoma.evaluation.shortcuts import FACT_SETS, Shortcut
from melanoma.schema import NOT_A_DEVICE
from tests.data.card_data import gathered

FOUND = [
    Shortcut(FACT_SETS[0], ("source_collection",), 0.625, 0.5, 0.75),
    Shortcut(FACT_SETS[1], problem="because all images have the same value or none"),
    Shortcut(FACT_SETS[2], ("width",), 0.25, 0.125, 0.5),
]


@pytest.fixture(scope="module")
def images() -> pd.DataFrame:
    return gathered().images


def heights(axes: mpl.axes.Axes, number: int) -> list[float]:
    """The steps of one class's histogram that are not zero; positive is drawn last and so listed first."""
    outline: Any = axes.patches[number]
    return sorted(step for step in outline.get_xy()[1:-1:2, 1].tolist() if step > 0)


def test_all_figures_that_the_data_allow_are_drawn_and_saved(images, tmp_path):
    drawn = draw_figures(images, FOUND, dataset="toy", is_synthetic=True)
    assert list(drawn) == ["age", "resolution", "quality", "shortcuts"]
    save_figures(drawn, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(f"{name}.png" for name in drawn)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in tmp_path.iterdir())


def test_every_figure_says_where_it_comes_from_and_what_it_is_not(images):
    for is_synthetic in (True, False):
        for figure in draw_figures(images, FOUND, dataset="toy", is_synthetic=is_synthetic).values():
            note = figure.get_supxlabel()
            assert "dataset toy" in note
            assert NOT_A_DEVICE in note
            assert ("SYNTHETIC" in note) == is_synthetic


def test_every_axis_is_labelled(images):
    for figure in draw_figures(images, FOUND, dataset="toy", is_synthetic=False).values():
        assert all(axes.get_xlabel() for axes in figure.axes if axes.axison)


def test_no_global_state_is_touched(images):
    before = plt.get_fignums()
    draw_figures(images, FOUND, dataset="toy", is_synthetic=False)
    assert plt.get_fignums() == before


def test_the_same_data_give_the_same_bytes(images):
    def png() -> bytes:
        stream = io.BytesIO()
        age_figure(images, note="x").savefig(stream, format="png")
        return stream.getvalue()

    assert png() == png()


def test_ages_are_shares_of_their_class(images):
    axes = age_figure(images, note="x").axes[0]
    assert axes.get_xlabel() == "age (years)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["negative (2)", "positive (2)"]
    assert heights(axes, 0) == [1]  # both negative lesions at 50 years
    assert heights(axes, 1) == [1 / 2, 1 / 2]  # at 60 and 70


def test_resolutions_are_as_large_as_they_are_frequent(images):
    axes = resolution_figure(images, note="x").axes[0]
    negative, positive = axes.collections
    assert negative.get_offsets().tolist() == [[200, 200]]
    assert positive.get_offsets().tolist() == [[400, 300]]
    assert negative.get_sizes()[0] > positive.get_sizes()[0]
    assert mpl.colors.to_hex(positive.get_facecolor()[0]) == CLASS_COLORS["positive"]


def test_one_resolution_alone_is_no_figure(images):
    assert resolution_figure(images[images["target"] == 0], note="x") is None
    assert resolution_figure(images.assign(width=pd.NA), note="x") is None


def test_quality_has_a_panel_for_each_measure_that_was_taken(images):
    figure = quality_figure(images.assign(ink_fraction=pd.NA), note="x")
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == 9
    assert not any(axes.get_xlabel().startswith("ink") for axes in shown)
    assert len([axes for axes in quality_figure(images, note="x").axes if axes.axison]) == 10


def test_no_image_falls_out_of_a_panel(images):
    dark = images.assign(sharpness=pd.Series([0, 0, 1, 10, 100], dtype="Float64"))
    figure = quality_figure(dark, note="x")
    (panel,) = (axes for axes in figure.axes if axes.get_xlabel().startswith("sharpness"))
    assert panel.get_xscale() == "log"
    assert sum(heights(panel, 0)) == pytest.approx(1)
    assert sum(heights(panel, 1)) == pytest.approx(1)


def test_pictures_without_any_sharpness_are_drawn(images):
    assert quality_figure(images.assign(sharpness=0.0), note="x") is not None


def test_shortcuts_stand_in_their_order_and_undefined_ones_are_left_out():
    axes = shortcuts_figure(FOUND, note="x").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "the source collection",
        "width and height",
    ]
    assert axes.get_yticks().tolist() == [1, 0]
    points = axes.containers[0].lines[0]
    assert points.get_xdata().tolist() == [0.625, 0.25]
    (bars,) = axes.containers[0].lines[2]
    assert np.array(bars.get_segments())[:, :, 0].tolist() == [[0.5, 0.75], [0.125, 0.5]]
    assert axes.get_xlim()[0] < 0.125


def test_nothing_to_show_is_no_figure(images):
    assert shortcuts_figure([FOUND[1]], note="x") is None
    assert age_figure(images.assign(age_years=pd.NA), note="x") is None
    bare = images.assign(**dict.fromkeys(QUALITY, pd.NA))
    assert quality_figure(bare, note="x") is None
