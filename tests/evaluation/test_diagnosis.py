"""Metrics of several classes: counted by hand, against scikit-learn, and what must never change."""

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from melanoma.evaluation import diagnosis
from melanoma.evaluation.diagnosis import PER_CLASS, Answers, Settings, measure, roc_bands
from melanoma.schema import BENIGN_KERATOSIS, CLASSES, MELANOMA, NEVUS, OTHER

# Seven images: the answers are melanoma, melanoma, nevus | nevus, nevus, melanoma | keratosis
TRUTH = np.array([0, 0, 0, 1, 1, 1, 2])
NUM = len(CLASSES)
SOFTMAX = np.zeros((7, NUM))
SOFTMAX[:, [0, 1, 2, NUM - 1]] = np.array(
    [
        [0.7, 0.1, 0.1, 0.1],
        [0.5, 0.3, 0.1, 0.1],
        [0.3, 0.5, 0.1, 0.1],
        [0.1, 0.7, 0.1, 0.1],
        [0.2, 0.6, 0.1, 0.1],
        [0.4, 0.3, 0.2, 0.1],
        [0.1, 0.2, 0.6, 0.1],
    ]
)


def answers(classes=TRUTH, *softmax: np.ndarray, group_ids=None) -> Answers:
    groups = np.arange(len(classes)) if group_ids is None else group_ids
    return Answers(classes, groups, np.stack(softmax or (SOFTMAX,)))


def settings(**changes: int) -> Settings:
    return Settings(**({"num_draws": 200, "seed": 3, "min_groups": 1} | changes))


@pytest.fixture(scope="module")
def drawn():
    """300 images of all classes, two networks that know something; an image in three shares a group."""
    generator = np.random.default_rng(5)
    classes = generator.choice(NUM, size=300, p=[0.2, 0.3, *(NUM - 2) * (0.5 / (NUM - 2),)])
    logits = generator.normal(size=(2, 300, NUM)) + 1.2 * np.eye(NUM)[classes]
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return Answers(classes, np.arange(300) // 3, softmax)


# ---- counted by hand ---------------------------------------------------------------------------


def test_each_class_is_counted_against_the_rest():
    found = measure(answers(), settings())["per_class"]
    melanoma = {name: found[MELANOMA][name]["value"] for name in PER_CLASS}
    # 2 of 3 found; of 4 others 3 are called otherwise; 3 are called so
    assert melanoma == pytest.approx(
        # 12 pairs: 0.7 and 0.5 beat all four others, 0.3 beats three of them
        {"sensitivity": 2 / 3, "specificity": 3 / 4, "ppv": 2 / 3, "f1_score": 2 / 3, "auc_roc": 11 / 12}
    )
    keratosis = {name: found[BENIGN_KERATOSIS][name]["value"] for name in PER_CLASS}
    assert keratosis == dict.fromkeys(PER_CLASS, 1.0)
    assert (found[NEVUS]["num_images"], found[NEVUS]["num_groups"]) == (3, 3)


def test_macro_metrics_are_plain_means_of_the_classes_that_are_measured():
    found = measure(answers(), settings())
    assert found["macro"]["classes"] == [MELANOMA, NEVUS, BENIGN_KERATOSIS]  # no image is of another
    assert found["macro"]["sensitivity"]["value"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["macro"]["f1_score"]["value"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["accuracy"]["value"] == pytest.approx(5 / 7)


def test_the_confusion_matrix_has_the_truth_in_its_rows():
    found = measure(answers(), settings())["confusion"]
    assert list(found["counts"][MELANOMA].values()) == [2, 1, *(NUM - 2) * (0,)]
    assert list(found["counts"][NEVUS].values()) == [1, 2, *(NUM - 2) * (0,)]
    assert list(found["counts"][BENIGN_KERATOSIS].values()) == [0, 0, 1, *(NUM - 3) * (0,)]
    assert list(found["counts"][OTHER].values()) == NUM * [0]
    assert found["shares"][MELANOMA][NEVUS]["value"] == pytest.approx(1 / 3)
    assert np.isnan(found["shares"][OTHER][OTHER]["value"])


def test_the_value_is_the_mean_over_networks_and_each_is_named():
    perfect = np.eye(NUM)[TRUTH]
    found = measure(answers(TRUTH, SOFTMAX, perfect), settings())
    assert found["per_class"][MELANOMA]["sensitivity"]["by_seed"] == pytest.approx([2 / 3, 1])
    assert found["per_class"][MELANOMA]["sensitivity"]["value"] == pytest.approx(5 / 6)
    assert found["confusion"]["counts"][MELANOMA][MELANOMA] == 2.5


# ---- too few ------------------------------------------------------------------------------------


def test_a_class_of_too_few_groups_is_not_measured_and_not_in_the_mean():
    groups = np.array([0, 0, 1, 2, 3, 4, 5])  # two groups of melanomas, three of nevi, one keratosis
    found = measure(answers(group_ids=groups), settings(min_groups=2))
    assert found["macro"]["classes"] == [MELANOMA, NEVUS]
    assert found["per_class"][BENIGN_KERATOSIS]["is_too_small"]
    assert all(np.isnan(found["per_class"][BENIGN_KERATOSIS][name]["value"]) for name in PER_CLASS)
    assert found["macro"]["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert found["per_class"][BENIGN_KERATOSIS]["num_images"] == 1  # counted all the same
    found = measure(answers(group_ids=groups), settings(min_groups=3))
    assert found["macro"]["classes"] == [NEVUS]
    assert np.isnan(found["macro"]["sensitivity"]["value"])  # a mean of one class is no mean
    assert not found["per_class"][NEVUS]["is_too_small"]


def test_a_class_with_too_few_others_to_hold_against_it_is_not_measured():
    groups = np.array([0, 0, 0, 1, 2, 3, 0])  # three groups of nevi, and one of all others
    found = measure(answers(group_ids=groups), settings(min_groups=2))
    assert found["macro"]["classes"] == []
    assert found["per_class"][NEVUS]["num_groups"] == 3
    assert found["per_class"][NEVUS]["is_too_small"]
    assert roc_bands(answers(group_ids=groups), settings(min_groups=2)) == {}


# ---- against scikit-learn -----------------------------------------------------------------------


def test_all_metrics_are_those_of_scikit_learn(drawn):
    one = Answers(drawn.classes, drawn.group_ids, drawn.probabilities[:1])
    found = measure(one, settings())
    truth, softmax = drawn.classes, drawn.probabilities[0]
    called = softmax.argmax(1)
    by_class = found["per_class"].values()
    per_class = {name: [entry[name]["value"] for entry in by_class] for name in PER_CLASS}
    np.testing.assert_allclose(per_class["sensitivity"], recall_score(truth, called, average=None))
    np.testing.assert_allclose(per_class["ppv"], precision_score(truth, called, average=None))
    np.testing.assert_allclose(per_class["f1_score"], f1_score(truth, called, average=None))
    areas = [roc_auc_score(truth == at, softmax[:, at]) for at in range(NUM)]
    np.testing.assert_allclose(per_class["auc_roc"], areas)
    macro = found["macro"]
    np.testing.assert_allclose(macro["sensitivity"]["value"], balanced_accuracy_score(truth, called))
    np.testing.assert_allclose(macro["f1_score"]["value"], f1_score(truth, called, average="macro"))
    expected = roc_auc_score(truth, softmax, multi_class="ovr", average="macro")
    np.testing.assert_allclose(macro["auc_roc"]["value"], expected)
    counts = np.array([list(row.values()) for row in found["confusion"]["counts"].values()])
    np.testing.assert_array_equal(counts, confusion_matrix(truth, called))


def test_weights_count_as_repeated_images_do(drawn):
    times = np.random.default_rng(1).integers(0, 3, size=300)
    weighted = diagnosis.auc_one_against_rest(
        drawn.classes == 2, drawn.probabilities[0, :, 2], times[None].astype(float)
    )
    repeated = np.repeat(np.arange(300), times)
    expected = roc_auc_score(drawn.classes[repeated] == 2, drawn.probabilities[0, repeated, 2])
    np.testing.assert_allclose(weighted, [expected])


# ---- what must hold -----------------------------------------------------------------------------


def test_every_metric_lies_in_its_interval_and_in_0_to_1(drawn):
    found = measure(drawn, settings())
    entries = [entry[name] for entry in found["per_class"].values() for name in PER_CLASS]
    entries += [found["macro"][name] for name in diagnosis.MACRO]
    for entry in entries:
        assert 0 <= entry["low"] <= entry["value"] <= entry["high"] <= 1
        assert entry["low"] < entry["high"]


def test_the_shares_of_a_truth_add_to_one_and_its_own_is_the_sensitivity(drawn):
    found = measure(drawn, settings())
    for name, row in found["confusion"]["shares"].items():
        assert sum(entry["value"] for entry in row.values()) == pytest.approx(1)
        assert row[name]["value"] == pytest.approx(found["per_class"][name]["sensitivity"]["value"])


def test_a_network_that_guesses_has_macro_metrics_of_chance():
    classes = np.tile(np.arange(NUM), 2000 // NUM)
    softmax = np.random.default_rng(2).dirichlet(np.ones(NUM), size=2000)
    found = measure(answers(classes, softmax), settings())["macro"]
    assert found["auc_roc"]["low"] < 0.5 < found["auc_roc"]["high"]
    assert found["sensitivity"]["low"] < 1 / NUM < found["sensitivity"]["high"]


def test_intervals_are_wider_where_images_of_a_group_are_alike(drawn):
    twice = Answers(
        np.tile(drawn.classes, 2), np.tile(drawn.group_ids, 2), np.tile(drawn.probabilities, (1, 2, 1))
    )
    alone = Answers(twice.classes, np.arange(600), twice.probabilities)
    widths = [
        entry["high"] - entry["low"]
        for entry in (measure(one, settings())["macro"]["auc_roc"] for one in (twice, alone))
    ]
    assert widths[0] > 1.2 * widths[1]


def test_the_same_seed_draws_the_same_intervals_and_another_one_others(drawn):
    first, again, other = (measure(drawn, settings(seed=seed))["macro"] for seed in (3, 3, 4))
    assert first == again
    assert first["auc_roc"]["low"] != other["auc_roc"]["low"]


def test_bands_are_of_the_measured_classes_and_enclose_a_curve_that_rises(drawn):
    bands = roc_bands(drawn, settings())
    assert list(bands) == list(CLASSES)
    for name, band in bands.items():
        assert (band["low"] <= band["sensitivity"] + 0.05).all()  # pointwise, of draws with ties
        assert band["sensitivity"].is_monotonic_increasing
        area = np.trapezoid(band["sensitivity"], band["false_positive_fraction"])
        assert area == pytest.approx(
            measure(drawn, settings())["per_class"][name]["auc_roc"]["value"], abs=0.02
        )
    assert OTHER not in roc_bands(answers(), settings())


def test_flat_metrics_leave_out_what_is_not_measured():
    flat = diagnosis.flat_metrics(measure(answers(), settings()))
    assert flat["macro_sensitivity"] == pytest.approx(7 / 9)
    assert flat["benign_keratosis_auc_roc"] == 1
    assert not [name for name in flat if "other" in name]
