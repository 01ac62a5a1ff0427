import numpy as np
import pandas as pd
import pytest

from melanoma.data.packed import Packed
from melanoma.errors import DataError
from melanoma.stages import experiments
from tests.simulations import choices


@pytest.fixture
def data():
    """40 training, 10 validation and 10 test images, each its own group; every fourth is positive."""
    number = np.arange(60)
    index = pd.DataFrame(
        {
            "image_id": [f"i{one:02}" for one in number],
            "dataset": "toy",
            "group_id": [f"g{one:02}" for one in number],
            "target": (number % 4 == 0).astype(int),
            "split": np.repeat(["train", "validation", "test"], [40, 10, 10]),
        }
    )
    return Packed(np.zeros((60, 2, 2, 3), np.uint8), index, "digest", is_synthetic=True)


def test_networks_learn_and_are_chosen_on_training_groups_alone(data):
    found = experiments.arrays(data, num_folds=1)
    assert found.holdout is not None
    assert (len(found.train), len(found.holdout)) == (32, 8)
    assert found.holdout.targets.sum() == 2
    assert sorted([*found.train.image_ids, *found.holdout.image_ids]) == [f"i{one:02}" for one in range(40)]


def test_a_network_of_the_last_epoch_learns_from_all_training_groups(data):
    found = experiments.all_of_training(data)
    assert found.holdout is None
    assert found.train.image_ids.tolist() == [f"i{one:02}" for one in range(40)]


def test_each_training_image_is_held_out_once(data):
    folds = experiments.folds_of(data, num_folds=4)
    held = np.concatenate([fold.holdout.image_ids for fold in folds])
    assert sorted(held) == [f"i{one:02}" for one in range(40)]
    assert all(not set(fold.train.image_ids) & set(fold.holdout.image_ids) for fold in folds)


def test_too_few_training_groups_of_a_class_are_refused_and_five_are_enough(data):
    positive = data.index.index[(data.index["split"] == "train") & (data.index["target"] == 1)]
    data.index.loc[positive[5:], "target"] = 0
    assert experiments.arrays(data, num_folds=1).holdout.targets.sum() == 1
    data.index.loc[positive[4:], "target"] = 0
    with pytest.raises(DataError, match="The training split has 4 positive and 36 negative groups"):
        experiments.arrays(data, num_folds=1)


def test_a_guarantee_holds_only_where_the_choice_was_made_on_other_groups():
    for row in choices.simulate(100, 2):
        assert float(row.before) < 0.6
        assert float(row.after) >= 0.88
