import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from melanoma.config.evaluation import Audit
from melanoma.data.packed import Packed
from melanoma.errors import DataError
from melanoma.evaluation import references

SETTINGS = Audit(
    seed=1,
    num_folds=3,
    histogram_bins=4,
    border_fraction=0.1,
    max_flipped_fraction=0.1,
    max_images=500,
)


def index(num: int, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "image_id": [f"i{n}" for n in range(num)],
            "dataset": "toy",
            "group_id": [f"g{n // 2}" for n in range(num)],
            "target": generator.permutation(np.arange(num) % 2),
            "split": np.array(["train", "train", "validation", "test"])[np.arange(num) // 2 % 4],
        }
    )


def coloured(rows: pd.DataFrame) -> np.ndarray:
    """Malignant images are darker by one step of the histogram."""
    noise = np.random.default_rng(1).integers(0, 60, (len(rows), 16, 16, 3))
    return (noise + np.where(rows["target"] == 1, 40, 110)[:, None, None, None]).astype(np.uint8)


def shaped(rows: pd.DataFrame) -> np.ndarray:
    """Malignant images have their dark pixels on the left, negative ones on the right: the same colours."""
    images = np.full((len(rows), 16, 16, 3), 200, dtype=np.uint8)
    for image, target in zip(images, rows["target"], strict=True):
        image[:, slice(0, 8) if target else slice(8, 16)] = 60
    return images


def score_colours(images: np.ndarray, rows: pd.DataFrame, settings: Audit) -> pd.Series:
    return references.score_colours(Packed(images, rows, "digest", is_synthetic=True), settings)


def auc(rows: pd.DataFrame, scored: pd.Series) -> float:
    score = scored.loc[rows["image_id"]].to_numpy()
    is_test = (rows["split"] == "test").to_numpy()
    positive = score[is_test & (rows["target"] == 1)]
    negative = score[is_test & (rows["target"] == 0)]
    return float(np.mean(positive[:, None] > negative) + np.mean(positive[:, None] == negative) / 2)


def test_a_histogram_by_hand():
    image = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    image[0, 0, 0] = (255, 128, 64)
    counts = references.colour_histograms(image, num_bins=2)
    # the one pixel that is not black is orange: a low hue, fully bright, saturated by 3/4
    rgb = [3 / 4, 1 / 4, 3 / 4, 1 / 4, 1, 0]
    assert counts.tolist() == [[*rgb, 1, 0, 3 / 4, 1 / 4, 3 / 4, 1 / 4]]


def test_a_planted_colour_is_learnt_and_a_planted_shape_is_not():
    rows = index(160)
    assert auc(rows, score_colours(coloured(rows), rows, SETTINGS)) > 0.95
    assert auc(rows, score_colours(shaped(rows), rows, SETTINGS)) == pytest.approx(0.5)


def facts(rows: pd.DataFrame, **columns: object) -> pd.DataFrame:
    numbers = dict.fromkeys(references.NUMBERS, pd.array([1.0] * len(rows), dtype="Float64"))
    words = dict.fromkeys(references.WORDS, pd.array(["JPEG"] * len(rows), dtype="string"))
    return pd.DataFrame(numbers | words | columns).assign(image_id=rows["image_id"].to_numpy())


def test_a_planted_fact_of_the_file_is_learnt_and_constant_facts_tell_nothing():
    rows = index(160)
    width = pd.array(np.where(rows["target"] == 1, 600, 800), dtype="Int64")
    telling = references.score_file_facts(facts(rows, width=width), rows, SETTINGS)
    assert auc(rows, telling) > 0.95
    mode = pd.array(np.where(rows["target"] == 1, "RGB", "L"), dtype="string")
    assert auc(rows, references.score_file_facts(facts(rows, mode=mode), rows, SETTINGS)) > 0.95
    assert auc(rows, references.score_file_facts(facts(rows), rows, SETTINGS)) == pytest.approx(0.5)


def test_a_fact_counts_within_its_dataset_however_large_the_files_of_another_one_are():
    rows = index(320)
    is_other = np.arange(320) >= 160
    rows["dataset"] = np.where(is_other, "other", "toy")
    noise = np.random.default_rng(3).normal(0, 30, 320)
    num_bytes = np.where(is_other, 500_000, 5_000) + 40 * rows["target"] + noise
    planted = facts(rows, num_bytes=pd.array(num_bytes, dtype="Float64"))
    scored = references.score_file_facts(planted, rows, SETTINGS)
    for name in ("toy", "other"):
        mine = (rows["dataset"] == name).to_numpy()
        assert auc(rows[mine], scored) > 0.7
    # Test images play no part in what a dataset's files are measured by.
    is_test = (rows["split"] == "test").to_numpy()
    moved = planted.assign(num_bytes=planted["num_bytes"].where(~is_test, planted["num_bytes"] * 9))
    again = references.score_file_facts(moved, rows, SETTINGS)
    np.testing.assert_array_equal(again[~is_test], scored[~is_test])


def test_facts_that_are_missing_here_and_there_or_everywhere_are_no_error():
    rows = index(80)
    width = pd.array([None, 800] * 40, dtype="Int64")
    gone = pd.array([None] * 80, dtype="Float64")
    scored = references.score_file_facts(facts(rows, width=width, sharpness=gone, mode=None), rows, SETTINGS)
    assert np.isfinite(scored).all()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_labels_of_other_splits_than_training_play_no_part(split):
    rows = index(160)
    images = coloured(rows)
    is_in = rows["split"] == split
    changed = rows.assign(target=np.where(is_in, 1 - rows["target"], rows["target"]))
    before, after = (score_colours(images, given, SETTINGS) for given in (rows, changed))
    np.testing.assert_array_equal(before, after)


def test_groups_of_training_images_stay_together_when_the_penalty_is_chosen(monkeypatch):
    seen = []
    split = StratifiedGroupKFold.split

    def watched(folds, features, target, groups):
        for known, unknown in split(folds, features, target, groups):
            seen.append(set(groups[known]) & set(groups[unknown]))
            yield known, unknown

    monkeypatch.setattr(StratifiedGroupKFold, "split", watched)
    rows = index(160)
    score_colours(coloured(rows), rows, SETTINGS)
    assert seen == [set()] * SETTINGS.num_folds


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_groups", [1, 2, 4])
def test_few_malignant_groups_in_training_are_enough(num_groups):
    rows = index(160)
    positive = rows[(rows["split"] == "train") & (rows["target"] == 1)]
    kept = positive["group_id"].unique()[:num_groups]
    few = rows.drop(positive.index[~positive["group_id"].isin(kept)]).reset_index(drop=True)
    assert auc(few, score_colours(coloured(few), few, SETTINGS)) > 0.95


def test_each_image_keeps_its_score_whatever_the_order_of_the_facts():
    rows = index(80)
    width = pd.array(np.where(rows["target"] == 1, 600, 800), dtype="Int64")
    given = facts(rows, width=width)
    scored = references.score_file_facts(given, rows, SETTINGS)
    shuffled = references.score_file_facts(given.sample(frac=1, random_state=1), rows, SETTINGS)
    pd.testing.assert_series_equal(shuffled, scored)
    features = references.colours_of(Packed(coloured(rows), rows, "digest", is_synthetic=True), SETTINGS)
    plain, mixed = (
        references.fit_and_score(StandardScaler(), given, rows, SETTINGS)
        for given in (features, features.sample(frac=1, random_state=1))
    )
    pd.testing.assert_series_equal(mixed, plain)


def sized(rows: pd.DataFrame, fraction: np.ndarray, *, has_mask: np.ndarray | bool = True) -> pd.DataFrame:
    """What the audit knows of the lesions: a mask, and the fraction of it that is lesion."""
    paths = ["mask.png" if one else None for one in np.broadcast_to(has_mask, len(rows))]
    return pd.DataFrame(
        {
            "image_id": rows["image_id"],
            "mask_path": pd.array(paths, dtype="string"),
            "lesion_fraction": pd.array(fraction, dtype="Float64"),
        }
    )


def test_a_planted_size_is_learnt_also_where_it_does_not_rise_and_one_size_tells_nothing():
    rows = index(160)
    noise = np.random.default_rng(2).normal(0, 0.01, 160)
    larger = sized(rows, np.where(rows["target"] == 1, 0.4, 0.2) + noise)
    assert auc(rows, references.score_lesion_size(larger, rows, SETTINGS)) > 0.95
    # positive lesions are of medium size: the raw area would have an AUC of 1/2
    negative = np.where(np.arange(160) % 4 < 2, 0.05, 0.6)
    medium = sized(rows, np.where(rows["target"] == 1, 0.25, negative) + noise)
    assert auc(rows, references.score_lesion_size(medium, rows, SETTINGS)) > 0.95
    same = sized(rows, np.full(160, 0.3))
    assert auc(rows, references.score_lesion_size(same, rows, SETTINGS)) == pytest.approx(0.5)


def test_images_without_a_usable_mask_have_no_size_and_the_others_keep_theirs():
    rows = index(160)
    fraction = np.where(rows["target"] == 1, 0.4, 0.2)
    has_mask = np.arange(160) % 5 > 0
    scored = references.score_lesion_size(sized(rows, fraction, has_mask=has_mask), rows, SETTINGS)
    assert list(scored.index) == list(rows["image_id"])
    np.testing.assert_array_equal(scored.notna(), has_mask)
    blank = np.where(has_mask, fraction, 0.0)  # an empty mask is no lesion of size 0
    again = references.score_lesion_size(sized(rows, blank), rows, SETTINGS)
    pd.testing.assert_series_equal(again, scored)


def test_without_masks_of_both_classes_in_training_no_image_has_a_size():
    rows = index(160)
    fraction = np.where(rows["target"] == 1, 0.4, 0.2)
    for has_mask in (np.zeros(160, bool), (rows["target"] == 1).to_numpy()):
        scored = references.score_lesion_size(sized(rows, fraction, has_mask=has_mask), rows, SETTINGS)
        assert scored.isna().all()
    validation = (rows["split"] == "validation").to_numpy()
    shuffled = rows.assign(target=np.where(validation, 1 - rows["target"], rows["target"]))
    one, other = (
        references.score_lesion_size(sized(rows, fraction), each, SETTINGS) for each in (rows, shuffled)
    )
    pd.testing.assert_series_equal(one, other)  # only training counts


def test_facts_and_features_of_other_images_are_refused_by_name():
    rows = index(80)
    with pytest.raises(DataError, match=r"The facts of files .* 1 images have no row \(i7\)"):
        references.score_file_facts(facts(rows).drop(7), rows, SETTINGS)
    numbers = pd.DataFrame({"a": np.arange(80.0)}, index=rows["image_id"])
    with pytest.raises(DataError, match=r"The features .* 1 rows belong to other images \(i79\)"):
        references.fit_and_score(StandardScaler(), numbers, rows[:79], SETTINGS)
    references.fit_and_score(StandardScaler(), numbers[:79], rows[:79], SETTINGS)
