"""Networks of both targets beside each other."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from melanoma.errors import DataError
from melanoma.evaluation import diagnosis_report
from melanoma.evaluation.diagnosis import Settings
from melanoma.schema import CLASSES, NOT_A_DEVICE
from melanoma.study import diagnosis_results

SETTINGS = Settings(num_draws=200, seed=3, min_groups=2)
SEEDS = [1, 2]


def predict(*, skill: float, trained_for: str, seed: int) -> pd.DataFrame:
    """80 test images; the higher the skill, the better their classes are told."""
    truth = np.arange(80) % 3  # no image is of the class other
    generator = np.random.default_rng([seed, int(skill * 10)])
    logits = generator.normal(size=(80, len(CLASSES))) + skill * np.eye(len(CLASSES))[truth]
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    classes = softmax if trained_for == "diagnosis" else np.full_like(softmax, np.nan)
    return pd.DataFrame(
        {
            "trained_for": trained_for,
            "seed": seed,
            "image_id": [f"image_{number}" for number in range(80)],
            "group_id": [f"group_{number // 2}" for number in range(80)],
            "target": (truth == 0).astype(int),
            "diagnosis_class": np.array(CLASSES)[truth],
            "probability": softmax[:, 0],
            **dict(zip(CLASSES, classes.T, strict=True)),
        }
    )


def both(of_two: float, of_four: float) -> pd.DataFrame:
    skills = {"positive": of_two, "diagnosis": of_four}
    return pd.concat(
        [
            predict(skill=skill, trained_for=trained_for, seed=seed)
            for seed in SEEDS
            for trained_for, skill in skills.items()
        ],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def results():
    return describe(both(0.2, 3.0))


def describe(predictions: pd.DataFrame, settings: Settings = SETTINGS, *, is_synthetic: bool = True) -> dict:
    counts = {name: {"train": 3, "validation": 1, "test": 27} for name in CLASSES}
    head = {"cohort": "toy", "is_synthetic": is_synthetic, "seeds": SEEDS, "num_images": counts}
    head["num_malignant_of_other_classes"] = {"train": 0, "validation": 0, "test": 0}
    return head | diagnosis_results.measure(predictions, settings)


def test_the_melanoma_score_of_both_is_held_against_malignant(results):
    predictions = both(0.2, 3.0)
    for trained_for in ("positive", "diagnosis"):
        rows = predictions[predictions["trained_for"] == trained_for]
        areas = [roc_auc_score(part["target"], part["probability"]) for _, part in rows.groupby("seed")]
        found = results["melanoma_score"][trained_for]["auc_roc"]
        assert found["by_seed"] == pytest.approx(areas)
        assert found["value"] == pytest.approx(np.mean(areas))


def test_the_difference_is_that_of_the_means_and_is_put_into_words(results):
    score = results["melanoma_score"]
    change = score["diagnosis_minus_malignant"]["auc_roc"]
    expected = score["diagnosis"]["auc_roc"]["value"] - score["positive"]["auc_roc"]["value"]
    assert change["value"] == pytest.approx(expected)
    assert "improves significantly when the other classes are learnt too" in diagnosis_results.finding(
        results
    )
    worse = describe(both(3.0, 0.2))
    assert "gets significantly worse when the other classes are learnt too" in diagnosis_results.finding(
        worse
    )
    same = describe(both(1.0, 1.0))
    assert same["melanoma_score"]["diagnosis_minus_malignant"]["auc_roc"]["value"] == pytest.approx(0)
    assert "does not change significantly" in diagnosis_results.finding(same)


def test_one_network_is_measured_without_intervals():
    rows = predict(skill=1.0, trained_for="diagnosis", seed=1)
    found = diagnosis_results.measure_single(rows, SETTINGS)
    assert found["auc_roc"] == pytest.approx(roc_auc_score(rows["target"], rows["probability"]))
    assert found["melanoma_auc_roc"] == pytest.approx(found["auc_roc"])
    assert 0 < found["macro_sensitivity"] < 1
    of_two = diagnosis_results.measure_single(predict(skill=1.0, trained_for="positive", seed=1), SETTINGS)
    assert not [name for name in of_two if name.startswith("macro")]


def test_a_class_without_images_stands_in_the_table_as_too_small(results):
    table = diagnosis_report.class_table(results["diagnosis"]).set_index("class")
    assert table.loc["other", "test images"] == 0
    assert (table.loc["other", ["sensitivity", "AUC, one class against the rest"]] == "n too small").all()
    assert "macro (melanoma, nevus, benign keratosis)" in table.index
    assert "nan" not in table.to_csv()


def test_every_table_and_figure_has_a_caption_that_says_where_it_comes_from(results):
    predictions = both(0.2, 3.0)
    pictures = diagnosis_results.figures(predictions, results, SETTINGS, note="toy")
    names = {*diagnosis_results.tables(results), *pictures}
    captions = diagnosis_results.captions(results)
    assert set(captions) == names
    for entry in captions.values():
        assert entry["alt"]
        assert "SYNTHETIC" in entry["caption"]
        assert NOT_A_DEVICE in entry["caption"].lower()
    assert "95 %" not in captions["images.csv"]["caption"]  # counts of all splits
    real = diagnosis_results.captions(results | {"is_synthetic": False})
    assert not any("SYNTHETIC" in entry["caption"] for entry in real.values())


def test_the_confusion_picture_shows_counts_and_shares_of_the_row(results):
    picture = diagnosis_report.confusion_figure(results["diagnosis"], title="toy", note="toy")
    (axes,) = picture.axes
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == len(CLASSES) ** 2
    counts = results["diagnosis"]["confusion"]["counts"]["melanoma"]
    assert texts[0].split("\n")[0] == f"{counts['melanoma']:g}"
    assert texts[-1] == "0"  # no image is of the class: no share


def test_the_roc_picture_names_the_measured_classes_with_their_auc(results):
    figure = diagnosis_results.figures(both(0.2, 3.0), results, SETTINGS, note="toy")["roc.png"]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [label.split(":")[0] for label in labels] == ["chance", *CLASSES[:3]]
    assert all("AUC 0." in label or "AUC 1." in label for label in labels[1:])


def test_where_no_class_has_enough_images_there_are_no_curves_and_no_caption_of_them():
    strict = replace(SETTINGS, min_groups=1000)
    predictions = both(0.2, 3.0)
    results = describe(predictions, strict)
    pictures = diagnosis_results.figures(predictions, results, strict, note="toy")
    assert "roc.png" not in pictures
    assert set(diagnosis_results.captions(results)) == {*diagnosis_results.tables(results), *pictures}


def test_without_images_of_both_kinds_nothing_is_said_of_the_score():
    negative = both(0.2, 3.0)
    negative = negative[negative["target"] == 0]
    assert diagnosis_results.finding(describe(negative)).startswith(
        "The score of positive cannot be compared"
    )


def test_the_difference_of_each_network_is_said(results):
    change = results["melanoma_score"]["diagnosis_minus_malignant"]["auc_roc"]
    listed = ", ".join(f"{value:+.3f}" for value in change["by_seed"])
    assert diagnosis_results.finding(results).endswith(f", by network {listed}.")


def test_malignant_images_that_are_learnt_as_another_class_are_counted(results):
    assert (
        "positive images have a diagnosis" not in diagnosis_results.captions(results)["images.csv"]["caption"]
    )
    some = results | {"num_malignant_of_other_classes": {"train": 4, "validation": 0, "test": 1}}
    assert (
        "5 positive images have a diagnosis that is not a positive class"
        in diagnosis_results.captions(some)["images.csv"]["caption"]
    )


def test_each_image_keeps_its_answers_whatever_the_order_of_the_predictions():
    predictions = both(0.2, 3.0)
    shuffled = predictions.sample(frac=1, random_state=4)
    answers, mixed = (diagnosis_results.to_answers(rows) for rows in (predictions, shuffled))
    names = shuffled.loc[(shuffled["trained_for"] == "diagnosis") & (shuffled["seed"] == 1), "image_id"]
    order = [int(name.split("_")[1]) for name in names]
    np.testing.assert_array_equal(mixed.probabilities, answers.probabilities[:, order])
    np.testing.assert_array_equal(mixed.classes, answers.classes[order])
    found, again = (diagnosis_results.measure(rows, SETTINGS) for rows in (predictions, shuffled))
    areas = [one["melanoma_score"]["diagnosis_minus_malignant"]["auc_roc"] for one in (found, again)]
    assert areas[1].pop("by_seed") == pytest.approx(areas[0].pop("by_seed"))
    assert areas[1] == pytest.approx(areas[0])


def test_a_network_that_lacks_an_image_is_refused():
    with pytest.raises(DataError, match=r"The predictions of seed 2 .* 1 images have no row \(image_79\)"):
        diagnosis_results.measure(both(0.2, 3.0)[:-1], SETTINGS)
