import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from melanoma.evaluation import bootstrap, repeats
from melanoma.evaluation.repeats import Draws, Repeats

DRAWS = Draws(num_draws=400, seed=3)
TARGET = np.array([1, 1, 0, 0])
ALONE = np.array(["a", "b", "c", "d"])
RIGHT, HALF_RIGHT = [0.9, 0.8, 0.2, 0.1], [0.9, 0.2, 0.8, 0.1]


def of(*probabilities: list[float], target=TARGET, groups=ALONE) -> Repeats:
    return Repeats(target, groups, np.array(probabilities))


def noisy(num_networks: int, *, num_images: int = 60, strength: float = 0.5, seed: int = 0) -> Repeats:
    generator = np.random.default_rng(seed)
    target = np.arange(num_images) % 2
    probabilities = np.clip(
        0.5 + strength * (target - 0.5) + generator.normal(0, 0.2, (num_networks, num_images)), 0, 1
    )
    return Repeats(target, np.arange(num_images).astype(str), probabilities)


def test_the_value_is_the_mean_over_the_networks():
    accuracy = repeats.measure(of(RIGHT, HALF_RIGHT), DRAWS)["accuracy"]
    assert accuracy["by_seed"] == [4 / 4, 2 / 4]
    assert accuracy["value"] == 3 / 4


def test_metrics_of_each_network_are_those_of_scikit_learn():
    kind = noisy(3)
    found = repeats.measure(kind, DRAWS)
    for at, probability in enumerate(kind.probabilities):
        assert found["auc_roc"]["by_seed"][at] == pytest.approx(roc_auc_score(kind.target, probability))
        assert found["log_loss"]["by_seed"][at] == pytest.approx(log_loss(kind.target, probability))


def test_of_one_network_the_interval_is_that_of_the_bootstrap_over_groups():
    kind = noisy(1)
    weights = bootstrap.draw_weights(kind.group_ids, num_draws=400, seed=3)
    alone = bootstrap.metrics_with_intervals(
        kind.target, kind.probabilities[0], threshold=0.5, weights=weights
    )
    found = repeats.measure(kind, DRAWS)
    for name, entry in alone.items():
        assert {key: found[name][key] for key in entry} == pytest.approx(entry)


def test_networks_that_disagree_widen_the_interval():
    agreeing = repeats.measure(of(RIGHT, RIGHT), DRAWS)["accuracy"]
    disagreeing = repeats.measure(of(RIGHT, HALF_RIGHT), DRAWS)["accuracy"]
    assert (agreeing["low"], agreeing["high"]) == (1, 1)
    assert disagreeing["low"] < 3 / 4 < disagreeing["high"]


def test_images_of_a_group_are_drawn_together_and_widen_the_interval():
    # Four lesions with ten images each, half of them found: all images of a lesion or none.
    target = np.r_[np.ones(40), np.zeros(40)].astype(int)
    probability = np.r_[np.repeat([0.9, 0.9, 0.1, 0.1], 10), np.full(40, 0.1)][None, :]
    by_lesion = Repeats(target, np.arange(80) // 10, probability)
    by_image = Repeats(target, np.arange(80), probability)
    wide, narrow = (repeats.measure(kind, DRAWS)["sensitivity"] for kind in (by_lesion, by_image))
    assert wide["value"] == narrow["value"] == 1 / 2
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])


def test_a_kind_does_not_differ_from_itself():
    kind = noisy(3)
    for entry in repeats.paired_difference(kind, kind, DRAWS).values():
        assert (entry["value"], entry["low"], entry["high"]) == (0, 0, 0)


def test_a_paired_difference_is_narrower_than_one_of_images_apart():
    good, bad = noisy(2, strength=0.6, seed=1), noisy(2, strength=0.4, seed=1)
    paired = repeats.paired_difference(good, bad, DRAWS)["auc_roc"]
    apart = repeats.difference(good, bad, DRAWS)["auc_roc"]
    assert paired["value"] == pytest.approx(apart["value"])
    assert paired["high"] - paired["low"] < apart["high"] - apart["low"]


def test_a_difference_needs_no_like_images():
    found = repeats.difference(of(RIGHT, RIGHT), noisy(3), DRAWS)["accuracy"]
    assert found["value"] == pytest.approx(1 - repeats.measure(noisy(3), DRAWS)["accuracy"]["value"])


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
        repeats.paired_difference(of(RIGHT, HALF_RIGHT), other, DRAWS)
    repeats.paired_difference(of(RIGHT, HALF_RIGHT), of(RIGHT, RIGHT), DRAWS)


def test_what_is_undefined_is_nan():
    found = repeats.measure(of([0.9, 0.1], target=np.array([1, 1]), groups=ALONE[:2]), DRAWS)
    assert np.isnan(found["specificity"]["value"])
    assert np.isnan(found["auc_roc"]["low"])


def test_a_part_of_the_images_is_measured_alone():
    part = of(RIGHT, HALF_RIGHT).take(np.array([True, False, True, False]))
    assert repeats.measure(part, DRAWS)["accuracy"]["by_seed"] == [1, 1 / 2]
