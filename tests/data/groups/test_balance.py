import math

import numpy as np
import pandas as pd
import pytest

from melanoma.data.groups import balance
from melanoma.files import as_json

SIDES = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2


def rows(**changes: list) -> pd.DataFrame:
    """Ten images, six, two and two of them on the sides; the first two are of one group."""
    given = {
        "image_id": [f"i{number}" for number in range(10)],
        "dataset": ["a"] * 10,
        "group_id": ["g0", "g0", *(f"g{number}" for number in range(2, 10))],
        "target": [0, 1] * 5,
        "split": SIDES,
    }
    return pd.DataFrame(given | changes)


def records(**changes: list) -> pd.DataFrame:
    given: dict[str, list] = {"image_id": [f"i{number}" for number in range(10)]}
    given |= {name: [None] * 10 for name in balance.RECORDED}
    return pd.DataFrame(given | changes)


def measured(**changes: list) -> dict[str, dict]:
    found = balance.measure(rows(), records(**changes))
    return {entry["measure"]: entry for entry in found["measures"]}


def differences(entry: dict) -> list[float]:
    return [side["difference"] for side in entry["sides"].values()]


def test_a_difference_is_that_of_the_means_in_standard_deviations():
    entry = measured(age_years=[30, 30, 40, 40, 50, 50, 60, 60, 70, 70])["age (years)"]
    assert entry["all"] == 50
    assert [side["mean"] for side in entry["sides"].values()] == [40, 60, 70]
    deviation = np.std([30, 40, 50, 60, 70])
    expected = [(40 - 65) / deviation, (60 - 47.5) / deviation, (70 - 45) / deviation]
    assert differences(entry) == pytest.approx(expected)
    assert "undefined" not in entry


def test_fractions_of_images_are_compared_too():
    found = measured(sex=["female"] * 5 + ["male"] * 5)
    assert [side["mean"] for side in found["female"]["sides"].values()] == [5 / 6, 0, 0]
    assert found["in a group of several images"]["sides"]["train"]["mean"] == 2 / 6
    # 5 of 10 positive on the whole and 3 of 6, 1 of 2 and 1 of 2 on the sides.
    assert differences(found["positive"]) == [0, 0, 0]


def test_each_diagnosis_and_source_is_compared_and_of_two_only_one():
    found = measured(diagnosis=["nevus"] * 5 + ["melanoma"] * 3 + ["keratosis"] * 2)
    named = [name for name in found if name.startswith("diagnosis")]
    assert named == ["diagnosis: nevus", "diagnosis: melanoma", "diagnosis: keratosis"]
    two = measured(source_collection=["one"] * 6 + ["two"] * 4)
    assert [name for name in two if name.startswith("source")] == ["source: one"]


def test_what_is_not_recorded_or_the_same_everywhere_has_a_reason_and_no_difference():
    found = measured()
    assert {name: found[name]["undefined"] for name in ("diagnosis", "female", "age (years)")} == {
        "diagnosis": "not recorded",
        "female": "not recorded",
        "age (years)": "not recorded",
    }
    assert found["source"]["undefined"] == "the same in all images"  # the dataset, a single source
    assert all(math.isnan(value) for value in differences(found["source"]))
    one_side = measured(age_years=[30, 40, 50, 60, 70, 80, None, None, None, None])["age (years)"]
    assert one_side["undefined"] == "recorded in one part only"


def test_images_without_a_value_are_left_out():
    entry = measured(sex=["female", None, "male", None, None, None, "male", "female", "male", "female"])
    assert entry["female"]["sides"]["train"]["mean"] == 1 / 2


@pytest.mark.parametrize("num", [200, 2000])
def test_the_limit_is_exceeded_in_about_five_per_cent_of_random_sides(num):
    rng = np.random.default_rng(5)
    sides = np.array(["train", "validation", "test"])[rng.permutation(np.arange(num) % 5).clip(2) - 2]
    images = pd.DataFrame(
        {"image_id": [str(n) for n in range(num)], "dataset": "a", "target": 0, "split": sides}
    ).assign(group_id=lambda frame: frame["image_id"])
    limit = 1.96 * np.sqrt(1 / (num / 5) + 1 / (num * 4 / 5))
    exceeded = []
    for _ in range(200):
        ages = records_of_ages(images, rng.normal(50, 10, num))
        found = balance.measure(images, ages)
        assert found["limit"] == pytest.approx(max(limit, 0.1))
        entry = next(entry for entry in found["measures"] if entry["measure"] == "age (years)")
        exceeded.append(abs(entry["sides"]["test"]["difference"]) > limit)
    assert abs(np.mean(exceeded) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 200)


def records_of_ages(images: pd.DataFrame, ages: np.ndarray) -> pd.DataFrame:
    empty = dict.fromkeys(balance.RECORDED)
    return images[["image_id"]].assign(**empty | {"age_years": ages})


def test_a_side_without_images_is_undefined_and_nothing_crashes():
    found = balance.measure(rows(split=["train"] * 10), records())
    assert math.isnan(found["limit"])
    assert balance.widest(found).empty
    assert balance.in_words(found) == "balance of the sides not measured"


def test_the_table_and_the_sentence_say_what_is_undefined_and_what_is_widest():
    found = balance.measure(rows(), records(sex=["female"] * 5 + ["male"] * 5))
    table = balance.table(found).set_index("characteristic")
    assert table.loc["female", "train"] == "0.833 (+1.67)"
    assert table.loc["source", "test"] == "1 (the same in all images)"
    assert table.loc["age (years)", "all"] == "undefined"
    assert balance.table(as_json(found)).equals(balance.table(found))  # as read from split.json
    # Nine groups, two of them in test: a limit of 1.57.
    assert balance.in_words(found) == (
        "1 of 3 characteristics differ between the sides by more than 1.57 standard deviations (largest: "
        "female, 1.67)"
    )
