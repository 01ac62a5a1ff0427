import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from melanoma.errors import DataError
from melanoma.evaluation import bootstrap
from melanoma.study import repeats
from melanoma.study.repeats import Bootstrap, SeedPredictions

SETTINGS = Bootstrap(num_draws=400, seed=3)
TARGET = np.array([1, 1, 0, 0])
ALONE = np.array(["a", "b", "c", "d"])
RIGHT, HALF_RIGHT = [0.9, 0.8, 0.2, 0.1], [0.9, 0.2, 0.8, 0.1]


def of(*probabilities: list[float], target=TARGET, groups=ALONE) -> SeedPredictions:
    return SeedPredictions(
        target, groups, np.array(probabilities), image_ids=np.arange(len(target)).astype(str)
    )


def noisy(
    num_networks: int, *, num_images: int = 60, strength: float = 0.5, seed: int = 0
) -> SeedPredictions:
    generator = np.random.default_rng(seed)
    target = np.arange(num_images) % 2
    probabilities = np.clip(
        0.5 + strength * (target - 0.5) + generator.normal(0, 0.2, (num_networks, num_images)), 0, 1
    )
    names = np.arange(num_images).astype(str)
    return SeedPredictions(target, names, probabilities, image_ids=names)


def test_the_value_is_the_mean_over_the_networks():
    accuracy = repeats.measure(of(RIGHT, HALF_RIGHT), SETTINGS)["accuracy"]
    assert accuracy["by_seed"] == [4 / 4, 2 / 4]
    assert accuracy["value"] == 3 / 4


def test_metrics_of_each_network_are_those_of_scikit_learn():
    kind = noisy(3)
    found = repeats.measure(kind, SETTINGS)
    for at, probability in enumerate(kind.probabilities):
        assert found["auc_roc"]["by_seed"][at] == pytest.approx(roc_auc_score(kind.target, probability))
        assert found["log_loss"]["by_seed"][at] == pytest.approx(log_loss(kind.target, probability))


def test_of_one_network_the_interval_is_that_over_groups_alone():
    kind = noisy(1)
    alone = bootstrap.metrics_with_intervals(
        kind.target, kind.probabilities[0], kind.group_ids, threshold=0.5, draws=bootstrap.Draws(400, 3)
    )
    found = repeats.measure(kind, SETTINGS)
    for name in found:
        for end in ("value", "low", "high"):
            assert found[name][end] == pytest.approx(alone[name][end], nan_ok=True)


def test_more_networks_of_the_same_kind_are_not_more_evidence():
    # Networks are fixed: three copies of one network have its interval, and their spread is shown beside it.
    one, three = noisy(1), noisy(1).replace(np.repeat(noisy(1).probabilities, 3, axis=0))
    for name in ("auc_roc", "sensitivity", "log_loss"):
        found = [repeats.measure(kind, SETTINGS)[name] for kind in (one, three)]
        assert found[0]["low"] == pytest.approx(found[1]["low"])
        assert found[1]["by_seed"] == pytest.approx(3 * found[0]["by_seed"])


def test_images_of_a_group_are_drawn_together_and_widen_the_interval():
    # Four lesions with ten images each, half of them found: all images of a lesion or none.
    target = np.r_[np.ones(40), np.zeros(40)].astype(int)
    probability = np.r_[np.repeat([0.9, 0.9, 0.1, 0.1], 10), np.full(40, 0.1)][None, :]
    names = np.arange(80).astype(str)
    by_lesion = SeedPredictions(target, np.arange(80) // 10, probability, image_ids=names)
    by_image = SeedPredictions(target, np.arange(80), probability, image_ids=names)
    wide, narrow = (repeats.measure(kind, SETTINGS)["sensitivity"] for kind in (by_lesion, by_image))
    assert wide["value"] == narrow["value"] == 1 / 2
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])


def test_a_kind_does_not_differ_from_itself():
    kind = noisy(3)
    found = repeats.paired_difference(kind, kind, SETTINGS)
    assert found.pop("specificity_at_95_sensitivity")["undefined"].startswith("30 effective positive groups")
    for entry in found.values():
        assert (entry["value"], entry["low"], entry["high"]) == (0, 0, 0)
        assert entry["by_seed"] == [0, 0, 0]


def test_a_paired_difference_is_narrower_than_one_of_images_apart():
    good, bad = noisy(2, strength=0.6, seed=1), noisy(2, strength=0.4, seed=1)
    paired = repeats.paired_difference(good, bad, SETTINGS)["auc_roc"]
    apart = repeats.difference(good, bad, SETTINGS)["auc_roc"]
    assert paired["value"] == pytest.approx(apart["value"])
    assert paired["high"] - paired["low"] < apart["high"] - apart["low"]


def test_a_difference_needs_no_like_images():
    found = repeats.difference(of(RIGHT, RIGHT), noisy(3), SETTINGS)["accuracy"]
    assert found["value"] == pytest.approx(1 - repeats.measure(noisy(3), SETTINGS)["accuracy"]["value"])


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (of(RIGHT, RIGHT, target=np.array([1, 0, 1, 0])), "same images"),
        (of(RIGHT, RIGHT, groups=np.array(["a", "b", "c", "e"])), "same images"),
        (of(RIGHT), "got 2 and 1"),
    ],
)
def test_a_paired_difference_of_other_images_or_other_numbers_is_refused(other, complaint):
    with pytest.raises(ValueError, match=complaint):
        repeats.paired_difference(of(RIGHT, HALF_RIGHT), other, SETTINGS)
    repeats.paired_difference(of(RIGHT, HALF_RIGHT), of(RIGHT, RIGHT), SETTINGS)


def test_what_is_undefined_is_nan():
    found = repeats.measure(of([0.9, 0.1], target=np.array([1, 1]), groups=ALONE[:2]), SETTINGS)
    assert np.isnan(found["specificity"]["value"])
    assert np.isnan(found["auc_roc"]["low"])


def test_a_part_of_the_images_is_measured_alone():
    part = of(RIGHT, HALF_RIGHT).take(np.array([True, False, True, False]))
    assert repeats.measure(part, SETTINGS)["accuracy"]["by_seed"] == [1, 1 / 2]


# ---- networks are paired image by image ------------------------------------------------------


def predictions(num_images: int = 12) -> pd.DataFrame:
    """Three networks; what each says of an image follows from seed and image alone."""
    parts = [
        pd.DataFrame(
            {
                "seed": seed,
                "image_id": [f"i{number:02}" for number in range(num_images)],
                "group_id": [f"g{number // 2}" for number in range(num_images)],
                "target": np.arange(num_images) % 2,
                "probability": np.random.default_rng(seed).random(num_images),
            }
        )
        for seed in (2, 1, 3)
    ]
    return pd.concat(parts, ignore_index=True)


@given(order=st.permutations(range(36)), kept=st.sets(st.integers(0, 11), min_size=1))
@settings(deadline=None)
def test_each_image_keeps_its_probabilities_whatever_the_order_and_the_rest_of_the_rows(order, kept):
    rows = predictions()
    names = {f"i{number:02}" for number in kept}
    found = repeats.from_rows(rows.iloc[order][lambda part: part["image_id"].isin(names)])
    assert set(found.image_ids) == names
    expected = rows.pivot_table(index="seed", columns="image_id", values="probability")
    np.testing.assert_array_equal(found.probabilities, expected[list(found.image_ids)])
    by_id = rows.drop_duplicates("image_id").set_index("image_id").loc[list(found.image_ids)]
    assert found.target.tolist() == by_id["target"].tolist()
    assert found.group_ids.tolist() == by_id["group_id"].tolist()


def test_images_are_paired_by_their_ids_in_a_difference():
    rows = predictions()
    one = repeats.from_rows(rows)
    other = repeats.from_rows(rows.assign(probability=1 - rows["probability"]).sample(frac=1, random_state=5))
    assert one.image_ids.tolist() != other.image_ids.tolist()
    ordered = other.select(one.image_ids)
    np.testing.assert_array_equal(ordered.probabilities, 1 - one.probabilities)
    found = [repeats.paired_difference(one, kind, SETTINGS) for kind in (other, ordered)]
    assert repr(found[0]) == repr(found[1])  # nan does not equal nan


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows.drop(15), r"seed 2 .* 1 rows belong to other images \(i03\)"),
        (lambda rows: rows.drop(3), r"seed 2 .* 1 images have no row \(i03\)"),
        (lambda rows: pd.concat([rows, rows[12:13]]), r"seed 1 .* 1 image.* more than o.* \(i00\)"),
        (lambda rows: rows.assign(target=[1, *rows["target"][1:]]), "1 images have another target.*2: i00"),
        (lambda rows: rows.assign(group_id=["x", *rows["group_id"][1:]]), "another target or group.*: i00"),
    ],
    ids=["first network lacks one", "another lacks one", "twice", "another target", "another group"],
)
def test_networks_that_were_asked_about_other_images_are_refused(change, complaint):
    repeats.from_rows(predictions())
    with pytest.raises(DataError, match=complaint):
        repeats.from_rows(change(predictions()))


def test_images_that_the_networks_were_not_asked_about_are_refused_by_name():
    kind = repeats.from_rows(predictions())
    with pytest.raises(DataError, match="1 of 2 images have no prediction of these networks: unknown"):
        kind.select(np.array(["i00", "unknown"]))
    with pytest.raises(DataError, match=r"seed 1 .* 11 rows belong to other images \(i01"):
        repeats.from_rows(predictions(), image_ids=["i00"])
