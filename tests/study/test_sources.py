import numpy as np
import pandas as pd
import pytest

from melanoma.data.packed import Packed
from melanoma.errors import DataError
from melanoma.study import sources
from melanoma.study.stages import transfer

# Dataset, collection, group, target, split. Group g2 touches two collections.
ROWS = [
    ("isic", "A", "g1", 0, "train"),
    ("isic", "A", "g2", 1, "train"),
    ("isic", "B", "g2", 1, "train"),
    ("isic", "B", "g3", 0, "train"),
    ("isic", "B", "g4", 1, "train"),
    ("isic", "B", "g5", 0, "test"),
    ("isic", "B", "g6", 1, "test"),
    ("isic", None, "g7", 0, "validation"),
    ("ph2", "PH2", "g8", 0, "train"),
    ("ph2", "PH2", "g9", 1, "validation"),
]


@pytest.fixture
def data() -> Packed:
    index = pd.DataFrame(ROWS, columns=["dataset", "collection", "group_id", "target", "split"])
    index = index.astype({"dataset": "string", "collection": "string"})  # as records have them
    index["image_id"] = [f"i{number}" for number in range(len(ROWS))]
    images = np.zeros((len(ROWS), 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(ROWS))
    return Packed(images, index, "digest", is_synthetic=True)


def collections(index: pd.DataFrame) -> pd.Series:
    return index.set_index("image_id")["collection"]


def found_in(data: Packed, min_images: int = 1) -> dict[str, sources.Source]:
    found = sources.find_sources(data.index, collections(data.index), min_images=min_images)
    return {source.name: source for source in found}


def test_datasets_and_collections_are_sources_and_one_that_is_both_stands_there_once(data):
    found = found_in(data)
    assert [(one.name, one.kind) for one in found.values()] == [
        ("isic", "dataset"),
        ("ph2", "dataset"),
        ("A", "collection"),
        ("B", "collection"),
    ]
    assert found["A"].image_ids == {"i0", "i1"}


def test_a_source_of_few_images_is_none_and_one_more_image_makes_it_one(data):
    assert set(found_in(data, 3)) == {"isic", "B"}
    assert set(found_in(data, 2)) == {"isic", "ph2", "A", "B"}


def test_sources_of_one_kind_are_all_of_that_kind(data):
    named = collections(data.index)
    found = {
        kind: [one.key for one in sources.find_sources(data.index, named, min_images=1, kinds=[kind])]
        for kind in ("dataset", "collection")
    }
    assert found["dataset"] == ["dataset isic", "dataset ph2"]
    assert found["collection"] == ["collection A", "collection B", "collection PH2"]  # no dataset hides it


def test_what_makes_up_the_whole_cohort_is_no_source(data):
    alone = data.index.assign(dataset="isic", collection="A")
    assert sources.find_sources(alone, collections(alone), min_images=1) == []


def test_groups_that_touch_the_source_are_not_learnt_from_either(data):
    part = sources.part_without(data, found_in(data)["A"], ("train",))
    assert part.rows.tolist() == [3, 4, 8]  # not row 2: its group shows in A too
    assert part.targets.tolist() == [0, 1, 0]
    assert sources.part_without(data, found_in(data)["ph2"], ("validation",)).rows.tolist() == [7]


def test_a_network_that_keeps_its_last_epoch_learns_from_validation_too_and_holds_nothing_out(data):
    one = found_in(data)["A"]
    chosen, last = (transfer.training_arrays(data, one, keeps_last=keeps) for keeps in (False, True))
    assert (chosen.train.rows.tolist(), chosen.holdout.rows.tolist()) == ([3, 4, 8], [7, 9])
    assert (last.train.rows.tolist(), last.holdout) == ([3, 4, 7, 8, 9], None)
    whole = transfer.training_arrays(data, None, keeps_last=True)
    assert set(whole.train.rows) == {*range(10)} - {5, 6}  # not the test set


def test_all_images_of_the_source_are_tested(data):
    part = sources.part_of(data, found_in(data)["B"])
    assert part.take(slice(None))[:, 0, 0, 0].tolist() == [2, 3, 4, 5, 6]
    assert data.rows_of(part)["split"].tolist() == ["train"] * 3 + ["test"] * 2


def test_a_source_of_one_class_or_without_which_nothing_can_be_learnt_says_so(data):
    assert sources.reason_unusable(data, found_in(data)["A"], ("train",)) is None
    assert sources.reason_unusable(data, found_in(data)["isic"], ("train",)) == (
        "without it the train split has 1 images of fewer than two classes"
    )
    negative = data.index.assign(target=[0] * 8 + [0, 0])
    one_class = Packed(data.images, negative, "digest", is_synthetic=True)
    assert sources.reason_unusable(one_class, found_in(data)["ph2"], ()) == "all its images are negative"
    positive = Packed(data.images, data.index.assign(target=1), "digest", is_synthetic=True)
    assert sources.reason_unusable(positive, found_in(data)["ph2"], ()) == "all its images are positive"


def test_a_collection_that_is_called_like_a_dataset_is_another_source(data):
    renamed = collections(data.index).replace({"A": "isic"})
    found = sources.find_sources(data.index, renamed, min_images=1)
    assert {"dataset isic", "collection isic"} <= {source.key for source in found}
    assert len({source.key for source in found}) == len(found)


def test_a_source_has_the_same_images_whatever_the_order_of_the_collections(data):
    shuffled = collections(data.index).sample(frac=1, random_state=1)
    found = sources.find_sources(data.index, shuffled, min_images=1)
    assert found == list(found_in(data).values())
    part = sources.part_of(data, found_in(data)["B"])
    assert part.image_ids.tolist() == ["i2", "i3", "i4", "i5", "i6"]


def test_collections_of_other_images_are_refused(data):
    with pytest.raises(DataError, match=r"The source collections .* 1 images have no row \(i4\)"):
        sources.find_sources(data.index, collections(data.index).drop("i4"), min_images=1)
