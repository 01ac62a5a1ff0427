from collections import Counter

import pytest

from melanoma.study import paper_figures

FIGURES = paper_figures.load()


def failing(figures: dict, topic: str) -> list[str]:
    checked = paper_figures.check(figures, tolerance=1e-4)
    return [entry["claim"] for entry in checked["checks"] if entry["topic"] == topic and not entry["agrees"]]


def assumed(figures: dict) -> Counter:
    """How many checks fail, by what is assumed."""
    checked = paper_figures.check(figures, tolerance=1e-4)
    return Counter(entry["assumes"] for entry in checked["checks"] if not entry["agrees"])


def matrices(found: dict) -> list[tuple]:
    return [tuple(counts[name] for name in paper_figures.COUNTS) for counts in found["counts"]]


def agreeing_figures() -> dict:
    """What the paper would say if its matrix of ISIC were true: 262 of 265 and 258 of 265."""
    row = {"accuracy": 520 / 530, "sensitivity": 262 / 265, "specificity": 258 / 265, "ppv": 262 / 269}
    return FIGURES | {"table_2": FIGURES["table_2"] | {"isic": row}}


def test_the_source_is_named():
    assert "Tables I to III" in " ".join(FIGURES["source"].split())


def test_metrics_of_a_matrix_are_fractions_of_its_counts():
    found = paper_figures.metrics_of(FIGURES["confusion"]["ph2"])
    assert found["accuracy"] == 37 / 40
    assert found["sensitivity"] == 19 / 20
    assert found["specificity"] == 18 / 20
    assert found["ppv"] == 19 / 21


def test_table_2_of_isic_contradicts_its_matrix_and_its_twin_would_not():
    topic = "table against confusion matrix"
    assert [claim for claim in failing(FIGURES, topic) if "isic" in claim]
    assert not [claim for claim in failing(agreeing_figures(), topic) if "isic" in claim]


def test_two_images_of_the_joint_set_are_missing():
    [claim] = [claim for claim in failing(FIGURES, "image counts") if "in the confusion matrix" in claim]
    assert "num_benign of the test set of joint" in claim


def test_f1_scores_follow_from_precision_and_recall_and_a_wrong_one_is_found():
    assert failing(FIGURES, "Table I") == []
    wrong = [FIGURES["table_1"][0] | {"f1_score": 0.9}, *FIGURES["table_1"][1:]]
    assert len(failing(FIGURES | {"table_1": wrong}, "Table I")) == 1


@pytest.mark.parametrize(
    ("cohort", "fitting"), [("isic", [(258, 52, 7, 213)]), ("ph2", [(19, 2, 1, 18)]), ("joint", [])]
)
def test_table_2_fits_these_matrices_and_no_other(cohort, fitting):
    found = paper_figures.check(FIGURES, tolerance=1e-4)["fitting_counts"][cohort]
    assert [tuple(counts[name] for name in paper_figures.COUNTS) for counts in found] == fitting


def test_every_matrix_that_fits_is_found():
    # 10 images, half of each class found: with 2, 4, 6 or 8 malignant ones; precision tells them apart.
    row = {"accuracy": 0.5, "sensitivity": 0.5, "specificity": 0.5, "ppv": 0.4}
    [counts] = paper_figures.fitting_counts(row, 10, tolerance=1e-9)
    assert counts == {"true_positives": 2, "false_negatives": 2, "false_positives": 3, "true_negatives": 3}


@pytest.mark.parametrize(
    ("cohort", "num_fitting", "fitting"),
    [("isic", 4, (258, 7, 52, 213)), ("ph2", 4, (19, 1, 2, 18)), ("joint", 3, (270, 15, 43, 242))],
)
def test_the_stated_images_fit_with_columns_exchanged_and_not_as_printed(cohort, num_fitting, fitting):
    found = paper_figures.check(FIGURES, tolerance=1e-4)["stated_counts"][cohort]
    assert found["as_printed"] == {"num_fitting": 1, "counts": []}
    assert found["exchanged"]["num_fitting"] == num_fitting
    assert matrices(found["exchanged"]) == [fitting]


def test_the_stated_images_fit_as_printed_where_the_matrix_is_true():
    found = paper_figures.check(agreeing_figures(), tolerance=1e-4)["stated_counts"]["isic"]
    assert found["as_printed"]["num_fitting"] == 4
    assert matrices(found["as_printed"]) == [(262, 3, 7, 258)]
    assert found["exchanged"]["num_fitting"] < 4


def test_exchanged_columns_are_precision_recall_and_the_negative_predictive_value():
    # Of 5 malignant images 3 are found, of 3 benign ones 2 let go: 3 of 4 called malignant are, 2 of 4 not.
    row = {"accuracy": 5 / 8, "sensitivity": 3 / 4, "specificity": 2 / 4, "ppv": 3 / 5}
    found = paper_figures.stated_counts(row, {"num_malignant": 5, "num_benign": 3}, tolerance=1e-9)
    assert found["exchanged"]["num_fitting"] == 4
    assert matrices(found["exchanged"]) == [(3, 2, 1, 2)]
    assert found["as_printed"]["num_fitting"] < 4


def test_figures_that_no_matrix_gives_fit_nothing_and_undefined_ones_neither():
    # One image of each class: where none is called malignant, precision is undefined.
    row = {"accuracy": 0.5, "sensitivity": 1.0, "specificity": 0.0, "ppv": 0.5}
    found = paper_figures.stated_counts(row, {"num_malignant": 1, "num_benign": 1}, tolerance=1e-9)
    assert matrices(found["as_printed"]) == [(1, 0, 1, 0)]
    row = {"accuracy": 0.3, "sensitivity": 0.3, "specificity": 0.3, "ppv": 0.3}
    found = paper_figures.stated_counts(row, {"num_malignant": 1, "num_benign": 1}, tolerance=1e-9)
    assert found == {reading: {"num_fitting": 0, "counts": []} for reading in paper_figures.READINGS}


def test_one_row_of_figures_has_two_kinds_of_data_and_one_kind_would_agree():
    assert len(failing(FIGURES, "titles of tables")) == 1
    assert (
        failing(FIGURES | {"kinds": FIGURES["kinds"] | {"table_2": "validation"}}, "titles of tables") == []
    )
    assert failing(agreeing_figures(), "titles of tables") == []  # other figures may have another kind


def test_failing_checks_are_told_apart_by_what_is_assumed():
    counts = assumed(FIGURES)
    [same_images] = [assumes for assumes in counts if "Table II (training, by its title)" in assumes]
    assert counts == {"": 6, same_images: 8, paper_figures.ON_TEST_IMAGES: 7, paper_figures.NO_COPIES: 1}


def test_nothing_is_assumed_of_table_2_where_its_kind_is_that_of_the_matrices():
    counts = assumed(FIGURES | {"kinds": dict.fromkeys(FIGURES["kinds"], "validation")})
    assert counts == {"": 6 - 1 + 8, paper_figures.ON_TEST_IMAGES: 7, paper_figures.NO_COPIES: 1}


def test_figures_that_table_3_does_not_repeat_need_the_assumption_too():
    other = FIGURES["table_3"]["conv_blocks_3"] | {"ppv": 0.9}
    figures = FIGURES | {"table_3": FIGURES["table_3"] | {"conv_blocks_3": other}}
    assert not paper_figures.repeats_isic(figures)
    assert assumed(figures)[""] == 2
