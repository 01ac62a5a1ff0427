import numpy as np
import pandas as pd
import pytest

from melanoma.data.packed import Packed
from melanoma.study import protocols

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def cohort(num_benign: int, num_malignant: int, *, size: int = 16) -> Packed:
    """Every image another grey with a dot; sides in turn; each image a group of its own."""
    num = num_benign + num_malignant
    images = np.repeat((np.arange(num) * 2 % 200 + 20).astype(np.uint8), size * size * 3).reshape(
        num, size, size, 3
    )
    images[:, size // 4, size // 3] = 255
    index = pd.DataFrame(
        {
            "image_id": [f"i{at}" for at in range(num)],
            "dataset": "toy",
            "group_id": [f"g{at}" for at in range(num)],
            "target": [0] * num_benign + [1] * num_malignant,
            "split": [("train", "train", "train", "validation", "test")[at % 5] for at in range(num)],
        }
    )
    return Packed(images, index, "digest", is_synthetic=True)


@pytest.fixture
def amounts(params):
    return params.augment.paper


def drawn(data: Packed, amounts, seed: int = 1) -> protocols.SplitImages:
    return protocols.paper(data, amounts=amounts, fractions=FRACTIONS, seed=seed)


def test_leak_free_takes_the_sides_as_they_are():
    data = cohort(16, 4)
    material = protocols.leak_free(data)
    assert material.rows["split"].tolist() == data.index["split"].tolist()
    assert not material.rows["is_copy"].any()
    assert not material.rows_of("test")["has_relative"].any()
    np.testing.assert_array_equal(
        material.part("test").take(slice(None)), data.part("test").take(slice(None))
    )


@pytest.mark.parametrize(
    ("num_benign", "num_malignant", "test_size"), [(160, 40, 20), (1850, 800, 265), (2010, 840, 285)]
)
def test_the_papers_own_test_sets_come_out(num_benign, num_malignant, test_size, amounts):
    # 200, 2,650 and 2,850 images; how many of the last two were positive the paper does not say.
    described = protocols.describe(drawn(cohort(num_benign, num_malignant, size=4), amounts))
    assert described["test"]["num_images"] == 2 * test_size
    assert described["test"]["num_malignant"] == test_size


def test_the_smaller_class_is_filled_up_with_copies_and_the_larger_one_loses_images(amounts):
    rows = drawn(cohort(16, 4), amounts).rows
    assert rows.groupby(["target", "is_copy"]).size().to_dict() == {
        (0, False): 10,
        (1, False): 4,
        (1, True): 6,
    }
    times = rows[rows["is_copy"]].groupby("image_id").size()
    assert sorted(times) == [1, 1, 2, 2]  # 6 copies of 4 images, equally often give or take one
    assert not rows[~rows["is_copy"]]["image_id"].duplicated().any()


def test_where_benign_images_are_fewer_they_are_copied(amounts):
    rows = drawn(cohort(4, 16), amounts).rows
    assert rows.groupby(["target", "is_copy"]).size().to_dict() == {
        (0, False): 4,
        (0, True): 6,
        (1, False): 10,
    }


def test_a_copy_is_its_original_warped(amounts):
    data = cohort(16, 4)
    material = drawn(data, amounts)
    colour_of = dict(zip(data.index["image_id"], data.images[:, 0, 0, 0], strict=True))
    for image, row in zip(material.images, material.rows.itertuples(), strict=True):
        assert np.median(image) == colour_of[row.image_id]
        original = data.images[data.index["image_id"] == row.image_id][0]
        assert np.array_equal(image, original) != row.is_copy


def test_copies_lie_on_other_sides_than_their_originals_and_are_counted_as_relatives(amounts):
    material = drawn(cohort(160, 40, size=8), amounts)
    for split in ("train", "validation", "test"):
        rows = material.rows_of(split)
        elsewhere = set(material.rows.loc[material.rows["split"] != split, "image_id"])
        assert rows["has_relative"].tolist() == rows["image_id"].isin(elsewhere).tolist()
        assert protocols.describe(material)[split]["num_with_relative"] == rows["has_relative"].sum() > 0
    tested = material.rows_of("test")
    assert tested.loc[tested["target"] == 1, "has_relative"].mean() > 0.5
    assert not tested.loc[tested["target"] == 0, "has_relative"].any()


def test_a_relative_is_any_image_of_the_group_not_only_a_copy(amounts):
    data = cohort(16, 4)
    data.index["group_id"] = "one"
    assert drawn(data, amounts).rows_of("test")["has_relative"].all()


def test_the_same_seed_gives_the_same_images_and_another_one_others(amounts):
    data = cohort(16, 4)
    one, again, other = (drawn(data, amounts, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.rows, again.rows)
    np.testing.assert_array_equal(one.images, again.images)
    assert not one.rows.equals(other.rows)


def test_a_balanced_test_keeps_its_side_and_its_number(amounts):
    tested = protocols.leak_free(cohort(80, 20))
    rows = tested.rows_of("test").reset_index(drop=True)[list(protocols.ROW_COLUMNS)]
    alone = protocols.SplitImages(tested.part("test").take(slice(None)), rows)
    balanced = protocols.balance(alone, amounts=amounts, seed=1)
    assert balanced.rows["split"].eq("test").all()
    assert len(balanced.rows) == len(alone.rows)
    assert balanced.rows["target"].mean() == 0.5
    assert set(balanced.rows["group_id"]) <= set(alone.rows["group_id"])


def test_images_of_one_class_cannot_be_balanced_and_come_back_as_they_are(amounts):
    material = protocols.leak_free(cohort(7, 0))
    balanced = protocols.balance(material, amounts=amounts, seed=1)
    assert balanced.rows["is_copy"].sum() == 0
    np.testing.assert_array_equal(balanced.images, material.images)


def test_every_picture_has_an_identity_of_its_own_and_keeps_it(amounts):
    """Copies have the image_id of their original, and there may be several of one."""
    material = drawn(cohort(32, 4), amounts)
    rows = material.rows
    assert rows["picture_id"].is_unique
    assert rows["image_id"].duplicated().any()
    originals = rows[~rows["is_copy"]]
    assert originals["picture_id"].tolist() == originals["image_id"].tolist()
    copies = rows[rows["is_copy"]]
    assert copies["picture_id"].str.split("#").str[0].tolist() == copies["image_id"].tolist()
    by_id = dict(zip(rows["picture_id"], material.images, strict=True))
    for split in ("train", "validation", "test"):
        part = material.part(split)
        assert part.image_ids.tolist() == material.rows_of(split)["picture_id"].tolist()
        for picture_id, pixels in zip(part.image_ids, part.take(slice(None)), strict=True):
            np.testing.assert_array_equal(pixels, by_id[picture_id])
