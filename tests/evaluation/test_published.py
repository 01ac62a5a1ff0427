import pytest

from melanoma.evaluation import published

FIGURES = published.load()


def failing(figures: dict, topic: str) -> list[str]:
    checked = published.check(figures, tolerance=1e-4)
    return [entry["claim"] for entry in checked["checks"] if entry["topic"] == topic and not entry["agrees"]]


def agreeing_figures() -> dict:
    """What the paper would say if its matrix of ISIC were true: 262 of 265 and 258 of 265."""
    row = {"accuracy": 520 / 530, "sensitivity": 262 / 265, "specificity": 258 / 265, "ppv": 262 / 269}
    return FIGURES | {"table_2": FIGURES["table_2"] | {"isic": row}}


def test_the_source_is_named():
    assert "Tables I to III" in " ".join(FIGURES["source"].split())


def test_metrics_of_a_matrix_are_fractions_of_its_counts():
    found = published.of_matrix(FIGURES["confusion"]["ph2"])
    assert found["accuracy"] == 37 / 40
    assert found["sensitivity"] == 19 / 20
    assert found["specificity"] == 18 / 20
    assert found["ppv"] == 19 / 21


def test_table_2_of_isic_contradicts_its_matrix_and_its_twin_would_not():
    topic = "table against confusion matrix"
    assert [claim for claim in failing(FIGURES, topic) if "isic" in claim]
    assert not [claim for claim in failing(agreeing_figures(), topic) if "isic" in claim]


def test_two_images_of_the_joint_set_are_missing():
    [claim] = [claim for claim in failing(FIGURES, "image counts") if "placed" in claim]
    assert "num_benign of the test set of joint" in claim


def test_f1_scores_follow_from_precision_and_recall_and_a_wrong_one_is_found():
    assert failing(FIGURES, "Table I in itself") == []
    wrong = [FIGURES["table_1"][0] | {"f1_score": 0.9}, *FIGURES["table_1"][1:]]
    assert len(failing(FIGURES | {"table_1": wrong}, "Table I in itself")) == 1


@pytest.mark.parametrize(
    ("cohort", "fitting"), [("isic", [(258, 52, 7, 213)]), ("ph2", [(19, 2, 1, 18)]), ("joint", [])]
)
def test_table_2_fits_these_matrices_and_no_other(cohort, fitting):
    found = published.check(FIGURES, tolerance=1e-4)["fitting_counts"][cohort]
    assert [tuple(counts[name] for name in published.COUNTS) for counts in found] == fitting


def test_every_matrix_that_fits_is_found():
    # 10 images, half of each class found: with 2, 4, 6 or 8 malignant ones; precision tells them apart.
    row = {"accuracy": 0.5, "sensitivity": 0.5, "specificity": 0.5, "ppv": 0.4}
    [counts] = published.fitting_counts(row, 10, tolerance=1e-9)
    assert counts == {"true_positives": 2, "false_negatives": 2, "false_positives": 3, "true_negatives": 3}
