import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma.evaluation.metric_table import WEIGHTED
from melanoma.evaluation.metrics import (
    at_prevalence,
    calibration_bins,
    compute_metrics,
    confusion_counts,
    roc_curve,
)

DEBIASED = "expected_calibration_error"

pytestmark = pytest.mark.filterwarnings("error")

samples = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 10), st.integers(0, 3)), min_size=1, max_size=25
)


def measure(target, probability, *, threshold=0.5, weights=None) -> dict[str, float]:
    """Every metric of one weighting as a plain number."""
    weights = np.ones(len(target)) if weights is None else np.asarray(weights, dtype=float)
    values = compute_metrics(
        np.asarray(target),
        np.asarray(probability, dtype=float),
        threshold=threshold,
        weights=weights[None],
    )
    return {name: float(value[0]) for name, value in values.items()}


def test_the_four_counts_of_the_counted_example(counted):
    target, probability = counted
    counts = confusion_counts(target, probability >= 0.5, weights=np.ones((1, 10)))
    assert {name: float(count[0]) for name, count in counts.items()} == {
        "true_positives": 3,
        "false_negatives": 1,
        "false_positives": 1,
        "true_negatives": 5,
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 8 / 10),
        ("sensitivity", 3 / 4),
        ("specificity", 5 / 6),
        ("balanced_accuracy", (3 / 4 + 5 / 6) / 2),
        ("ppv", 3 / 4),
        ("npv", 5 / 6),
        ("f1_score", 6 / 8),
        # of 4 x 6 pairs the four positive images win 6, 6, 5 and 3 1/2 (one tie)
        ("auc_roc", 20.5 / 24),
        # precision where each positive image is found; the last one shares its score with a negative one
        ("average_precision", (1 / 1 + 2 / 2 + 3 / 4 + 4 / 7) / 4),
        # the last positive image lifts the sensitivity from 3/4 to 1, the alarms from 2 to 3 of 6, for one
        # ties with it; from 4/5 on, a fifth of the way, the specificity falls from 3.8/6 to 3/6
        ("partial_auc_above_80_sensitivity", 1 / 5 * (3.8 / 6 + 3 / 6) / 2),
        # all four must be found, at 0.3, where three of six negative images are called positive too
        ("specificity_at_95_sensitivity", 3 / 6),
        # ten bins; a gap of 0.7 alone exceeds what chance gives one image, 0.7 x 0.3 as a variance
        ("expected_calibration_error", (0.7**2 - 0.7 * 0.3) ** 0.5 / 10),
        ("brier_score", (0.01 + 0.04 + 0.16 + 0.49 + 0.49 + 0.16 + 0.09 + 0.04 + 0.01 + 0.01) / 10),
    ],
)
def test_metrics_of_the_counted_example(counted, name, expected):
    assert measure(*counted)[name] == pytest.approx(expected, abs=1e-15)


def test_log_loss_is_the_mean_surprise():
    # -ln 1/4 and -ln (1 - 1/2)
    assert measure([1, 0], [1 / 4, 1 / 2])["log_loss"] == pytest.approx(3 / 2 * np.log(2), abs=1e-15)


def test_log_loss_of_a_certain_and_wrong_answer_is_large_and_finite():
    assert 30 < measure([1, 0], [0.0, 1.0])["log_loss"] < 40


def test_an_image_at_the_threshold_is_called_malignant():
    assert measure([1, 0], [0.5, 0.2], threshold=0.5)["sensitivity"] == 1
    assert measure([1, 0], [0.5, 0.2], threshold=np.nextafter(0.5, 1))["sensitivity"] == 0


def test_all_tied_scores_have_an_auc_of_one_half():
    assert measure([1, 0, 0, 1, 0], [0.3] * 5)["auc_roc"] == 1 / 2


def test_a_perfect_ranking_scores_one_and_its_reverse_zero():
    assert measure([1, 1, 0], [0.9, 0.8, 0.1])["auc_roc"] == 1
    assert measure([0, 0, 1], [0.9, 0.8, 0.1])["auc_roc"] == 0


def test_every_metric_has_one_value_for_each_row_of_weights(counted):
    values = compute_metrics(*counted, threshold=0.5, weights=np.ones((3, 10)))
    assert set(values) == set(WEIGHTED)
    assert {value.shape for value in values.values()} == {(3,)}


def test_rows_of_weights_do_not_touch_each_other(counted):
    weights = np.random.default_rng(2).integers(0, 4, size=(5, 10)).astype(float)
    together = compute_metrics(*counted, threshold=0.5, weights=weights)
    for row in range(5):
        for name, value in measure(*counted, weights=weights[row]).items():
            assert together[name][row] == pytest.approx(value, abs=1e-15, nan_ok=True)


OF_BOTH_CLASSES = {
    "balanced_accuracy",
    "auc_roc",
    "partial_auc_above_80_sensitivity",
    "specificity_at_95_sensitivity",
}


@pytest.mark.parametrize(
    ("target", "undefined"),
    [
        (0, {"sensitivity", "average_precision", *OF_BOTH_CLASSES}),
        (1, {"specificity", *OF_BOTH_CLASSES}),
    ],
)
def test_metrics_that_need_an_absent_class_are_nan(target, undefined):
    # one image on each side of the threshold, so that every decision occurs
    values = measure([target, target], [0.9, 0.1])
    assert {name for name, value in values.items() if np.isnan(value)} == undefined


def test_ppv_is_nan_when_nothing_is_called_malignant():
    values = measure([1, 0], [0.2, 0.1])
    assert np.isnan(values["ppv"])
    assert values["npv"] == 1 / 2
    assert values["f1_score"] == 0


def test_npv_is_nan_when_everything_is_called_malignant():
    values = measure([1, 0], [0.9, 0.8])
    assert np.isnan(values["npv"])
    assert values["ppv"] == 1 / 2


def test_f1_is_nan_when_nothing_is_malignant_nor_called_so():
    assert np.isnan(measure([0, 0], [0.2, 0.1])["f1_score"])


def test_every_metric_is_nan_when_no_sample_counts():
    assert all(np.isnan(value) for value in measure([1, 0], [0.9, 0.1], weights=[0, 0]).values())


def test_a_row_without_one_class_is_nan_and_leaves_the_other_rows_alone(counted):
    weights = np.ones((2, 10))
    weights[0, :4] = 0  # no positive image was drawn
    auc = compute_metrics(*counted, threshold=0.5, weights=weights)["auc_roc"]
    assert np.isnan(auc[0])
    assert auc[1] == 20.5 / 24


@settings(deadline=None)
@given(samples)
def test_whole_weights_equal_repeated_samples(rows):
    target, score, weight = (np.array(column) for column in zip(*rows, strict=True))
    repeated = np.repeat(np.arange(len(rows)), weight)
    if len(repeated) == 0:
        return
    weighted = measure(target, score / 10, weights=weight)
    plain = measure(target[repeated], score[repeated] / 10)
    del weighted[DEBIASED], plain[DEBIASED]  # repeated samples are no further evidence of an error
    assert weighted == pytest.approx(plain, abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(samples)
def test_a_monotone_map_of_the_scores_leaves_the_ranking_metrics(rows):
    target, score, _ = (np.array(column) for column in zip(*rows, strict=True))
    before, after = measure(target, score / 10), measure(target, (score / 20) ** 3 + 0.1)
    for name in ("auc_roc", "average_precision"):
        assert before[name] == pytest.approx(after[name], abs=0, nan_ok=True)


@settings(deadline=None)
@given(samples)
def test_exchanging_the_classes_mirrors_the_metrics(rows):
    target, score, _ = (np.array(column) for column in zip(*rows, strict=True))
    one = measure(target, score / 10, threshold=0.45)
    other = measure(1 - target, 1 - score / 10, threshold=0.55)  # no score lies there
    for name, mirrored in (("sensitivity", "specificity"), ("ppv", "npv"), ("auc_roc", "auc_roc")):
        assert one[name] == pytest.approx(other[mirrored], abs=1e-12, nan_ok=True)
        assert one[mirrored] == pytest.approx(other[name], abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(samples)
def test_defined_metrics_lie_between_zero_and_one(rows):
    target, score, _ = (np.array(column) for column in zip(*rows, strict=True))
    values = measure(target, score / 10)
    assert values.pop("log_loss") >= 0
    assert all(np.isnan(value) or 0 <= value <= 1 for value in values.values())


def test_the_order_of_the_samples_does_not_matter(counted):
    target, probability = counted
    order = np.random.default_rng(4).permutation(10)
    assert measure(target[order], probability[order]) == pytest.approx(
        measure(target, probability), abs=1e-15
    )


def test_roc_points_of_a_counted_example():
    curve = roc_curve(np.array([1, 0, 1, 0]), np.array([0.9, 0.6, 0.6, 0.1]))
    assert curve["threshold"].tolist() == [np.inf, 0.9, 0.6, 0.1]
    assert curve["sensitivity"].tolist() == [0, 1 / 2, 1, 1]
    assert curve["false_positive_fraction"].tolist() == [0, 0, 1 / 2, 1]


def test_roc_curve_is_nan_for_an_absent_class():
    curve = roc_curve(np.array([0, 0]), np.array([0.9, 0.1]))
    assert np.isnan(curve["sensitivity"]).all()
    assert curve["false_positive_fraction"].tolist() == [0, 1 / 2, 1]


def test_each_roc_point_holds_the_metrics_at_its_threshold(counted):
    curve = roc_curve(*counted)
    for threshold, sensitivity, false_positives in zip(*curve.values(), strict=True):
        values = measure(*counted, threshold=threshold)
        assert values["sensitivity"] == sensitivity
        assert 1 - values["specificity"] == pytest.approx(false_positives, abs=1e-15)


def test_the_area_under_the_roc_points_is_the_auc(counted):
    curve = roc_curve(*counted)
    area = np.trapezoid(curve["sensitivity"], curve["false_positive_fraction"])
    assert area == pytest.approx(20.5 / 24, abs=1e-15)


@settings(deadline=None)
@given(samples, st.randoms(use_true_random=False))
def test_no_metric_changes_when_the_samples_change_places(rows, random):
    target, score, weight = (np.array(column) for column in zip(*rows, strict=True))
    order = random.sample(range(len(rows)), len(rows))
    before = measure(target, score / 10, weights=weight)
    after = measure(target[order], score[order] / 10, weights=weight[order])
    assert after == pytest.approx(before, abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(samples)
def test_the_partial_area_is_bounded_by_the_whole_one(rows):
    target, score, _ = (np.array(column) for column in zip(*rows, strict=True))
    values = measure(target, score / 10)
    partial, whole = values["partial_auc_above_80_sensitivity"], values["auc_roc"]
    # the specificity falls as the sensitivity rises: its mean above 0.8 is not higher than over all
    assert np.isnan(whole) or (max(0, whole - 0.8) - 1e-12 <= partial <= 0.2 * whole + 1e-12)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.98))
def test_where_more_are_malignant_a_positive_answer_says_more_and_a_negative_one_less(
    sensitivity, specificity, prevalence
):
    rare = at_prevalence(np.array([sensitivity]), np.array([specificity]), prevalence)
    common = at_prevalence(np.array([sensitivity]), np.array([specificity]), prevalence + 0.01)
    for name, sign in (("ppv", 1), ("npv", -1)):
        gain = sign * (common[name][0] - rare[name][0])
        assert np.isnan(gain) or gain >= -1e-12


def test_specificity_at_95_sensitivity_takes_the_threshold_that_finds_19_of_20():
    # the lowest positive one may be lost: negative ones below the last but one count
    target = np.r_[np.ones(20), np.zeros(4)].astype(int)
    probability = np.r_[0.1, np.linspace(0.5, 0.9, 19), 0.05, 0.3, 0.45, 0.6]
    assert measure(target, probability)["specificity_at_95_sensitivity"] == pytest.approx(3 / 4)


def test_the_partial_area_of_a_flawless_ranking_is_a_fifth_and_of_chance_a_fiftieth():
    target = np.arange(10) % 2
    assert measure(target, target * 1.0)["partial_auc_above_80_sensitivity"] == pytest.approx(0.2)
    # the diagonal above 0.8: a triangle of 0.2 by 0.2
    assert measure(target, np.full(10, 0.5))["partial_auc_above_80_sensitivity"] == pytest.approx(0.02)


def test_the_calibration_error_of_a_counted_example():
    # bins of a tenth: 0.05 with none of two: a gap of 0.1 images, with a variance of 2 x 0.05 x 0.95;
    # 0.95 with one of two: a gap of 0.9 images, with the same variance
    values = measure([0, 0, 1, 0], [0.05, 0.05, 0.95, 0.95])
    assert values["expected_calibration_error"] == pytest.approx((0 + (0.9**2 - 0.095) ** 0.5) / 4)


def test_the_calibration_error_of_certain_answers_is_their_error():
    values = measure([0, 0, 1, 0], [0.0, 0.0, 0.0, 1.0])
    assert values["expected_calibration_error"] == pytest.approx((1 + 1) / 4)


def test_a_probability_of_one_is_in_the_last_bin():
    assert calibration_bins(np.array([0.0, 0.1, 0.19, 0.99, 1.0]), 10).tolist() == [0, 1, 1, 9, 9]
