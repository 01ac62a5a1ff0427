import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from melanoma.errors import DataError
from melanoma.evaluation.calibration_measures import measure
from melanoma.evaluation.decision_curve import decision_curve
from melanoma.evaluation.metric_table import METRICS
from melanoma.evaluation.report import THREE_WAY_SHARES, Report, evaluate
from melanoma.schema import PREDICTION_COLUMNS

NAMED: dict[str, Any] = {
    "cohort": "toy",
    "is_synthetic": False,
    "positive_means": "melanoma",
    "selected": "tuned",
    "sampling_powers": {"baseline": 1, "tuned": 1},
}

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def report(index, scores, settings, described):
    return evaluate(index, scores, settings, described=described, **NAMED)


def thresholds(report: Report) -> dict[str, float]:
    return {model: point.threshold for model, point in report.points.items()}


def of_split(index, split: str) -> np.ndarray:
    return (index["split"] == split).to_numpy()


def test_each_model_gets_its_threshold_on_validation(report):
    # three quarters of three positive images are all three; the last ones have 0.15 and 0.7
    assert thresholds(report) == {"baseline": 0.15, "tuned": 0.7}
    assert report.metrics["baseline"]["threshold"] == 0.15
    assert report.metrics["tuned"]["threshold"] == 0.7


@pytest.mark.parametrize("split", ["train", "test"])
def test_other_splits_than_validation_choose_nothing(index, scores, settings, described, split):
    report = evaluate(index, scores, settings, described=described, **NAMED)
    is_in = of_split(index, split)
    changed_index = index.assign(target=np.where(is_in, 1 - index["target"], index["target"]))
    changed_scores = {model: score.where(~is_in, 1 - score) for model, score in scores.items()}
    changed = evaluate(changed_index, changed_scores, settings, described=described, **NAMED)
    assert thresholds(changed) == thresholds(report)
    for model in scores:
        assert changed.metrics[model]["validation"] == report.metrics[model]["validation"]


def test_calibration_on_test_counts_the_error_of_the_calibration_and_on_validation_it_cannot(settings):
    generator = np.random.default_rng(1)
    num = 600
    target = np.tile([1, 0, 0], num // 3)
    ids = pd.Series([f"image_{at}" for at in range(num)], name="image_id")
    splits = np.repeat(["train", "validation", "test"], num // 3)
    index = pd.DataFrame(
        {"image_id": ids, "dataset": "toy", "group_id": ids, "target": target, "split": splits}
    )
    scores = {
        model: pd.Series(expit(generator.normal(1.5 * target - 1, 1)), index=ids)
        for model in ("baseline", "tuned")
    }
    facts = {"source_collection": "clinic", "sex": "male", "anatom_site": None, "skin_type": None}
    described = index[["image_id", "dataset"]].assign(
        **facts, diagnosis="nevus", age_years=50.0, sharpness=1.0
    )
    logistic = settings.model_copy(update={"calibration": "logistic"})
    report = evaluate(index, scores, logistic, described=described, **NAMED)
    rows = report.predictions[report.predictions["model"] == "tuned"]
    for split, is_wider in (("validation", False), ("test", True)):
        of_split = rows[rows["split"] == split]
        alone = measure(*(of_split[name].to_numpy() for name in ("target", "probability", "group_id")))
        for name in ("calibration_intercept", "calibration_slope", "observed_expected"):
            found = report.metrics["tuned"][split][name]
            assert found["value"] == alone[name]["value"]
            assert (found["low"] < alone[name]["low"] < alone[name]["high"] < found["high"]) == is_wider
    (whole,) = [entry for entry in report.slices["tuned"] if entry["slice"] == "dataset"]
    assert whole["calibration_slope"] == report.metrics["tuned"]["test"]["calibration_slope"]


def test_validation_scores_choose_the_threshold(index, scores, settings, described):
    is_in = of_split(index, "validation")
    exchanged = {
        "baseline": scores["tuned"].where(is_in, scores["baseline"]),
        "tuned": scores["baseline"].where(is_in, scores["tuned"]),
    }
    changed = evaluate(index, exchanged, settings, described=described, **NAMED)
    assert thresholds(changed) == {"baseline": 0.7, "tuned": 0.15}


@pytest.mark.parametrize("selected", ["baseline", "tuned"])
def test_the_choice_of_the_model_comes_from_outside_whatever_its_scores(
    index, scores, settings, described, selected
):
    report = evaluate(index, scores, settings, described=described, **NAMED | {"selected": selected})
    # of 3 x 5 pairs the baseline loses 4 of one positive image
    assert report.metrics["baseline"]["validation"]["auc_roc"]["value"] == 11 / 15
    assert report.metrics["tuned"]["validation"]["auc_roc"]["value"] == 1
    assert report.selected == report.metrics["selected"] == selected
    assert report.summary_line().endswith(f"selected {selected}")


def test_counts_of_the_test_split(report):
    baseline, tuned = (report.metrics[model]["test"] for model in ("baseline", "tuned"))
    assert (baseline["num_images"], baseline["num_groups"], baseline["num_malignant"]) == (8, 7, 3)
    names = ("true_positives", "false_negatives", "false_positives", "true_negatives")
    assert [baseline[name] for name in names] == [3, 0, 4, 1]  # at 0.15 one lies below
    assert [tuned[name] for name in names] == [3, 0, 0, 5]


def test_the_difference_of_the_models_is_told_for_both_splits(report):
    for split in ("validation", "test"):
        difference = report.metrics[f"tuned_minus_baseline_{split}_auc_roc"]
        assert difference["value"] == pytest.approx(4 / 15)
        assert difference["low"] <= difference["value"] <= difference["high"]


def test_predictions_hold_every_validation_and_test_image_once_a_model(index, scores, report):
    predictions = report.predictions
    assert tuple(predictions.columns) == PREDICTION_COLUMNS
    assert len(predictions) == 16 * 2
    is_in = (index["split"] != "train").to_numpy()
    for model, score in scores.items():
        rows = predictions[predictions["model"] == model]
        assert rows["image_id"].tolist() == index.loc[is_in, "image_id"].tolist()
        assert rows["probability"].tolist() == score[is_in].tolist()


def test_training_images_need_no_score(index, scores, settings, described, report):
    is_train = of_split(index, "train")
    unscored = {model: score.mask(is_train) for model, score in scores.items()}
    found = evaluate(index, unscored, settings, described=described, **NAMED)
    assert json.dumps(found.metrics) == json.dumps(report.metrics)
    pd.testing.assert_frame_equal(found.predictions, report.predictions)


def test_unlike_images_are_referred_and_measured_beside_the_others(
    index, scores, settings, described, report
):
    """The first test image is unlike the training images."""
    first = index.loc[of_split(index, "test"), "image_id"].iloc[0]
    said = pd.Series(None, index=index["image_id"], dtype=object)
    said[first] = "blurred (sharpness 1, expected at least 2)"
    reasons = dict.fromkeys(scores, said)
    found = evaluate(index, scores, settings, described=described, reasons=reasons, **NAMED)
    rows = found.predictions[found.predictions["reason"].notna()]
    assert rows["image_id"].tolist() == [first] * 2
    assert set(rows["decision"]) == {"refer"}
    before = report.predictions.set_index(["model", "image_id"])["decision"]
    after = found.predictions.set_index(["model", "image_id"])["decision"]
    assert before.drop(index=first, level=1).equals(after.drop(index=first, level=1))
    for model in scores:
        now, then = (one.metrics[model]["test"] for one in (found, report))
        assert then["unlike"] is None
        assert (now["unlike"]["num_referred"], now["unlike"]["left"]["num_images"]) == (1, 7)
        assert now["unlike"]["all"]["auc_roc"] == then["auc_roc"] == now["auc_roc"]
        assert now["unlike"]["three_way"] == then["three_way"]
        assert now["three_way"]["referred_fraction"]["value"] >= 1 / 8
        assert found.metrics[model]["validation"]["unlike"]["num_referred"] == 0


def test_a_prediction_at_the_threshold_is_malignant(report):
    rows = report.predictions
    at_threshold = rows[(rows["model"] == "tuned") & (rows["probability"] == 0.7)]
    assert set(at_threshold["decision"]) == {"positive"}
    below = rows[(rows["model"] == "tuned") & (rows["probability"] < 0.7)]
    assert set(below["decision"]) == {"negative"}


def test_confusion_rows_are_the_test_images_of_the_selected_model(report):
    assert report.confusion.columns.tolist() == ["truth", "decision"]
    pairs = list(report.confusion.itertuples(index=False, name=None))
    assert pairs == [("positive", "positive")] * 3 + [("negative", "negative")] * 5


def test_roc_points_of_both_models_start_at_the_origin_and_end_in_the_corner(report):
    assert set(report.curves) == {"baseline", "tuned"}
    for curves in report.curves.values():
        points = curves["roc"][["false_positive_fraction", "sensitivity"]].to_numpy()
        assert points[0].tolist() == [0, 0]
        assert points[-1].tolist() == [1, 1]


def test_flat_metrics_are_named_by_split_and_metric_without_the_ends_of_intervals(report):
    flat = report.flat_metrics("baseline")
    names = {f"{split}/{name}" for split in ("validation", "test") for name in (*METRICS, *THREE_WAY_SHARES)}
    assert set(flat) == names | {"validation/threshold"}
    assert flat["validation/threshold"] == 0.15
    assert flat["test/auc_roc"] == 11 / 15


def test_scores_are_those_of_the_selected_model_beside_the_baseline(report):
    comparison = {
        "kept_seed": 7,
        "tuned": {"val_auc_roc": {"by_seed": {"7": 0.9, "8": 0.8}, "mean": 0.85}},
        "baseline": {"val_auc_roc": {"by_seed": {"7": 0.6, "8": 0.6}, "mean": 0.6}},
    }
    assert report.scores(comparison) == {
        "selection_auc_roc": 0.9,
        "test_auc_roc": 1.0,
        "test_sensitivity": 1.0,
        "test_specificity": 1.0,
        "test_auc_roc_baseline": 11 / 15,
    }


def test_metrics_can_be_written_as_json(report):
    assert repr(json.loads(json.dumps(report.metrics))) == repr(report.metrics)  # nan does not equal nan


def test_the_summary_line_says_both_results_and_the_choice(report):
    entry = report.metrics["baseline"]["test"]["auc_roc"]
    assert f"baseline 0.733 ({entry['low']:.3f} to {entry['high']:.3f})" in report.summary_line()
    assert "tuned 1.000 (undefined to 1.000)" in report.summary_line()
    assert report.summary_line().endswith("selected tuned")


def test_synthetic_images_are_called_so(index, scores, settings, described, report):
    synthetic = evaluate(index, scores, settings, described=described, **NAMED | {"is_synthetic": True})
    assert "SYNTHETIC" in synthetic.summary_line()
    assert "SYNTHETIC" not in report.summary_line()
    assert synthetic.metrics["is_synthetic"] is True


def test_the_plots_have_the_curves_of_both_models_and_the_decisions_of_the_selected_one(report):
    plots = report.plots()
    assert plots.pop("confusion") is report.confusion
    assert set(plots) == {"roc", "precision_recall", "calibration", "decision"}
    for plot in plots.values():
        assert set(plot["model"]) == {"baseline", "tuned"}
        assert {"low", "high"} <= set(plot.columns)


def test_slices_are_those_of_the_test_images(report):
    of_dataset = [entry for entry in report.slices["tuned"] if entry["slice"] == "dataset"]
    assert [(entry["value"], entry["num_images"], entry["num_malignant"]) for entry in of_dataset] == [
        ("toy", 8, 3)
    ]
    assert of_dataset[0]["auc_roc"]["value"] == 1


@pytest.mark.parametrize("method", ["temperature", "logistic", "isotonic"])
def test_every_metric_and_prediction_is_of_calibrated_probabilities(
    index, scores, settings, described, method
):
    changed = settings.model_copy(update={"calibration": method})
    report = evaluate(index, scores, changed, described=described, **NAMED)
    rows = report.predictions[report.predictions["model"] == "baseline"]
    point = report.points["baseline"]
    assert point.calibration.method == method
    score = scores["baseline"][(index["split"] != "train").to_numpy()]
    assert rows["score"].tolist() == score.tolist()
    np.testing.assert_allclose(rows["probability"], point.calibration.apply(score))
    assert rows["decision"].tolist() == point.decide(rows["probability"].to_numpy()).tolist()
    assert report.metrics["baseline"]["test"]["brier_score"]["value"] == pytest.approx(
        np.mean((rows["probability"] - rows["target"])[rows["split"] == "test"] ** 2)
    )


@pytest.mark.parametrize(
    ("method", "power", "prevalence"),
    [
        ("none", 1, 0.5),
        ("none", 0, 2 / 8),
        ("none", 0.5, 2**0.5 / (2**0.5 + 6**0.5)),
        ("temperature", 1, 0.5),
        ("isotonic", 1, 3 / 8),
        ("logistic", 1, (3 * 4 / 5 + 5 / 7) / 8),  # Platt's smoothed targets
    ],
)
def test_probabilities_hold_at_the_prevalence_of_what_was_really_fitted_on(
    request, method, power, prevalence
):
    names = ("index", "scores", "settings", "described")
    index, scores, settings, described = map(request.getfixturevalue, names)
    changed = settings.model_copy(update={"calibration": method})
    fewer = index.assign(target=np.where(index["image_id"] == "train_0", 0, index["target"]))
    named = NAMED | {"sampling_powers": {"baseline": 1, "tuned": power}}
    report = evaluate(fewer, scores, changed, described=described, **named)
    assert report.points["tuned"].calibration.prevalence == pytest.approx(prevalence)
    reversed_scores = {model: 1 - score for model, score in scores.items()}
    of_reversed = evaluate(fewer, reversed_scores, changed, described=described, **named)
    if method in ("logistic", "temperature"):  # it would reverse the order, so nothing is fitted
        assert of_reversed.points["tuned"].calibration.prevalence == 0.5
    curve, point = report.curves["tuned"]["decision"], report.points["tuned"]
    found = report.predictions.query("model == 'tuned' and split == 'test'")
    again = decision_curve(
        found["target"].to_numpy(),
        found["probability"].to_numpy(),
        weights=np.ones((1, 8)),
        prevalences=settings.prevalences,
        fitted_prevalence=point.calibration.prevalence,
    )
    assert curve["net_benefit"].tolist() == again["net_benefit"].tolist()


def test_a_split_of_one_class_is_reported_as_undefined(index, scores, settings, described):
    is_test = of_split(index, "test")
    negative = index.assign(target=np.where(is_test, 0, index["target"]))
    report = evaluate(negative, scores, settings, described=described, **NAMED)
    assert np.isnan(report.metrics["tuned"]["test"]["auc_roc"]["value"])
    assert np.isnan(report.metrics["tuned"]["test"]["sensitivity"]["value"])
    assert report.metrics["tuned"]["test"]["specificity"]["value"] == 5 / 8


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_test_scores_that_are_no_numbers_are_refused_with_the_first_five(
    index, scores, settings, described, bad
):
    is_bad = of_split(index, "test") & (index.groupby("split").cumcount() < 6).to_numpy()
    first = ", ".join(index["image_id"][is_bad][:5])
    named = pd.Series(is_bad, index=index["image_id"]).reindex(scores["tuned"].index)
    broken = scores | {"tuned": scores["tuned"].mask(named, bad)}
    message = rf"6 of 8 test images of tuned have a score that is not a number.*: {first} and 1 more"
    with pytest.raises(DataError, match=message):
        evaluate(index, broken, settings, described=described, **NAMED)


def test_a_training_score_that_is_no_number_changes_no_result(index, scores, settings, described, report):
    is_train = pd.Series(of_split(index, "train"), index=index["image_id"])
    broken = {name: score.mask(is_train.reindex(score.index)) for name, score in scores.items()}
    found = evaluate(index, broken, settings, described=described, **NAMED)
    assert found.metrics == report.metrics


def test_the_same_scores_give_the_same_report(index, scores, settings, described, report):
    again = evaluate(index, scores, settings, described=described, **NAMED)
    assert again.metrics == report.metrics


# ---- everything is paired by image_id --------------------------------------------------------


def by_image(report: Report) -> pd.DataFrame:
    return report.predictions.set_index(["model", "image_id"]).sort_index()


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_scores_and_descriptions_changes_nothing_and_that_of_the_index_no_image(request, seed):
    names = ("index", "scores", "settings", "described", "report")
    index, scores, settings, described, report = map(request.getfixturevalue, names)
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(24), (3, 1)), axis=1)
    mixed_scores = {model: score.iloc[orders[0]] for model, score in scores.items()}
    mixed_described = described.iloc[orders[1]]
    mixed = evaluate(index, mixed_scores, settings, described=mixed_described, **NAMED)
    assert mixed.metrics == report.metrics
    assert str(mixed.slices) == str(report.slices)  # some are nan
    pd.testing.assert_frame_equal(mixed.predictions, report.predictions)
    other = evaluate(index.iloc[orders[2]], mixed_scores, settings, described=mixed_described, **NAMED)
    pd.testing.assert_frame_equal(by_image(other), by_image(report))
    assert other.metrics["tuned"]["test"]["auc_roc"] == report.metrics["tuned"]["test"]["auc_roc"]


@pytest.mark.parametrize("calibration", ["none", "isotonic"])
def test_with_fewer_training_images_every_other_image_keeps_its_prediction(
    index, scores, settings, described, calibration
):
    changed = settings.model_copy(update={"calibration": calibration})
    report = evaluate(index, scores, changed, described=described, **NAMED)
    kept = ~index["image_id"].isin(["train_1", "train_5"])
    fewer = evaluate(
        index[kept],
        {model: score[index.loc[kept, "image_id"]] for model, score in scores.items()},
        changed,
        described=described[kept],
        **NAMED,
    )
    expected = by_image(report).loc[by_image(fewer).index]
    pd.testing.assert_frame_equal(by_image(fewer), expected)
    assert fewer.points == report.points


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda score: score.drop("test_3"), r"1 images have no row \(test_3\)"),
        (lambda score: score[:0], r"24 images have no row \(.*and 19 more\)"),
        (lambda score: score.rename({"test_3": "x"}), r"\(test_3\); 1 rows belong to other images \(x\)"),
        (lambda score: pd.concat([score, score[-1:]]), r"1 image_ids have more than one row \(test_7\)"),
        (
            lambda score: score.reset_index(drop=True),
            r"24 rows belong to other images \(0, 1, 2, 3, 4 and 19",
        ),
    ],
    ids=["one less", "none", "another image", "twice", "no ids"],
)
def test_scores_of_other_images_are_refused(request, change, complaint):
    given = [request.getfixturevalue(name) for name in ("index", "scores", "settings", "described")]
    index, scores, settings, described = given
    changed = scores | {"tuned": change(scores["tuned"])}
    with pytest.raises(DataError, match=f"The scores of tuned cannot be paired.*{complaint}.*dvc repro"):
        evaluate(index, changed, settings, described=described, **NAMED)


def test_descriptions_of_other_images_are_refused(index, scores, settings, described):
    with pytest.raises(DataError, match=r"The descriptions of images .* 1 images have no row \(train_0\)"):
        evaluate(index, scores, settings, described=described[1:], **NAMED)
