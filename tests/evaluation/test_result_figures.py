from typing import Any

import numpy as np
import pytest

from melanoma.data.packed import Part
from melanoma.evaluation import result_figures
from melanoma.evaluation.report import evaluate


@pytest.fixture
def report(index, scores, settings, described):
    named: dict[str, Any] = {
        "cohort": "toy",
        "is_synthetic": True,
        "selected": "tuned",
        "positive_means": "melanoma",
        "sampling_powers": {"baseline": 1, "tuned": 1},
    }
    return evaluate(index, scores, settings, described=described, **named)


def test_every_look_of_a_model_is_drawn_with_its_note(report):
    figures = result_figures.draw(report, "baseline", note="cohort toy, SYNTHETIC images")
    assert sorted(figures) == [
        "calibration.png",
        "confusion.png",
        "decision.png",
        "histogram.png",
        "precision.png",
        "roc.png",
        "slices.png",
    ]
    assert all("SYNTHETIC" in figure.get_supxlabel() for figure in figures.values())
    legend = figures["roc.png"].axes[0].get_legend()
    assert "baseline: 0.733 (" in legend.get_texts()[1].get_text()


def test_the_sheets_show_test_images_of_that_model(report):
    images = np.random.default_rng(1).integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
    names = result_figures.test_rows(report, "baseline")["image_id"].to_numpy()[::-1]  # in another order
    part = Part(images, np.arange(8), np.zeros(8), image_ids=names)
    figures = result_figures.draw_images(
        report, "baseline", part, lambda given: given.reshape(len(given), -1).mean(1) / 255, num=4, note="n"
    )
    # at its threshold of 0.15 the baseline calls four negative images positive
    shown = [axes for axes in figures["errors.png"].axes if axes.get_images()]
    captions = [axes.get_title() for axes in shown]
    for axes, caption in zip(shown, captions, strict=True):
        expected = part.pictures([caption.split("\n")[0]])[0]
        np.testing.assert_array_equal(np.asarray(axes.get_images()[0].get_array()), expected)
    assert len(captions) == 4
    assert all(caption.startswith("test_") and "negative" in caption for caption in captions)
    assert sum(bool(axes.get_images()) for axes in figures["explanations.png"].axes) == 8


def test_only_test_images_are_looked_at(report):
    rows = result_figures.test_rows(report, "tuned")
    assert set(rows["split"]) == {"test"}
    assert len(rows) == 8
