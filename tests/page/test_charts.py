import pytest

from melanoma.page import charts, results
from tests.page.toys import headline, measured


def bars(**auc) -> charts.Bars:
    found = headline()
    for model, entry in auc.items():
        found["metrics"][model]["auc_roc"] = entry
    return charts.auc_bars(found, names=results.NAMES)


def test_bars_lie_on_one_axis_from_chance_to_one():
    drawn = bars(baseline=measured(0.75, 0.5, 1.0))
    first = drawn.bars[0]
    assert (first.low, first.value, first.high) == (0.0, charts.BAR_WIDTH / 2, charts.BAR_WIDTH)
    assert drawn.chance == 0.0
    assert drawn.ends == ("0.5", "1.0")
    assert [(bar.name, bar.is_selected) for bar in drawn.bars] == [
        ("baseline", True),
        ("tuned", False),
        ("colours alone", False),
    ]


def test_the_axis_begins_lower_where_an_interval_does():
    drawn = bars(tuned=measured(0.5, 0.37, 0.9))
    assert drawn.ends == ("0.3", "1.0")
    assert drawn.chance == pytest.approx(charts.BAR_WIDTH * 2 / 7, abs=0.1)


def test_what_is_undefined_has_words_and_no_bar():
    drawn = bars(tuned=measured(None))
    assert (drawn.bars[1].words, drawn.bars[1].value, drawn.bars[1].low) == ("undefined", None, None)


def test_a_roc_curve_begins_below_on_the_left_and_ends_above_on_the_right():
    side = charts.SIDE
    path = charts.roc_path({"false_positive_fraction": "0 0.5 1", "sensitivity": "0 1 1"})
    assert path == f"M0.0 {side:.1f} L{side / 2:.1f} 0.0 L{side:.1f} 0.0"


def test_a_curve_without_a_class_is_not_drawn():
    assert charts.roc_path({"false_positive_fraction": "0 1", "sensitivity": "nan nan"}) == ""
