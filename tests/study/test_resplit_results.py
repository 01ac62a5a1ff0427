import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from melanoma.config.evaluation import Audit
from melanoma.data.groups.splits import Plan
from melanoma.errors import DataError
from melanoma.study import resplit_results

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}
SETTINGS = Audit(
    seed=1,
    num_folds=3,
    histogram_bins=4,
    border_fraction=0.1,
    max_flipped_fraction=0.1,
    max_images=500,
)


@pytest.fixture
def index():
    """120 images of 60 groups of two datasets, in no order."""
    numbers = np.arange(60)
    one = pd.DataFrame(
        {
            "image_id": [f"i{n:02}" for n in numbers],
            "group_id": [f"g{n // 2}" for n in numbers],
            "target": (numbers // 2 % 3 == 0).astype(int),
            "split": np.array(["train", "train", "train", "validation", "test"])[numbers // 2 % 5],
        }
    )
    both = pd.concat(
        [
            one.assign(dataset=name, image_id=name + one["image_id"], group_id=name + one["group_id"])
            for name in ("a", "b")
        ]
    )
    return both.sample(frac=1, random_state=1).reset_index(drop=True)


def features(index: pd.DataFrame, *, strength: float) -> pd.DataFrame:
    noise = np.random.default_rng(2).normal(size=(len(index), 3))
    noise[:, 0] += strength * index["target"]
    return pd.DataFrame(noise, index=index["image_id"])


def results(**others: object) -> dict:
    methods = {
        kind: resplit_results.compare(0.8, np.array([0.6, 0.7, 0.8])) for kind in resplit_results.NAMES
    }
    given = {"cohort": "joint", "is_synthetic": False, "num_splits": 3, "num_images": 100}
    given |= {"methods": methods, "correlation": float("nan")}
    return given | others


def test_other_sides_keep_rows_and_groups_and_differ_by_seed(index):
    first, again, other = (resplit_results.redraw(index, Plan(seed, FRACTIONS)) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert len({tuple(drawn["split"]) for drawn in (first, other, index)}) == 3
    pd.testing.assert_frame_equal(first.drop(columns="split"), index.drop(columns="split"))
    for drawn in (first, other):
        assert len(drawn.drop_duplicates(["group_id", "split"])) == index["group_id"].nunique()
        assert drawn["split"].value_counts().to_dict() == {"train": 72, "validation": 24, "test": 24}
        positive = drawn.groupby("split")["target"].sum()
        assert positive.max() <= 0.65 * index["target"].sum()
        assert positive.min() > 0


def test_the_split_that_is_judged_is_none_of_the_others(index):
    assert resplit_results.find_seeds(index, Plan(1, FRACTIONS), num=4) == [1, 2, 3, 4]
    judged = resplit_results.redraw(index, Plan(2, FRACTIONS))
    assert resplit_results.find_seeds(judged, Plan(1, FRACTIONS), num=4) == [1, 3, 4, 5]


@pytest.mark.slow
def test_too_few_groups_for_so_many_splits_are_refused(index):
    few = index[index["group_id"].isin(sorted(set(index["group_id"]))[:3])].reset_index(drop=True)
    with pytest.raises(DataError, match="the images have too few groups"):
        resplit_results.find_seeds(few, Plan(1, FRACTIONS), num=50)


def test_each_draw_is_fitted_on_its_own_training_images_and_tested_on_its_own_test_images(index):
    given = {"index": index, "settings": SETTINGS, "plan": Plan(1, FRACTIONS)}
    strong, none = (
        [
            resplit_results.auc_of_draw(seed, features=features(index, strength=strength), **given)
            for seed in range(1, 33)
        ]
        for strength in (3.0, 0.0)
    )
    assert np.mean(strong) > 0.95
    assert abs(np.mean(none) - 0.5) < 0.12  # a leak of test images into the fit would lift it
    assert len(set(none)) > 4


def test_what_is_fitted_has_seen_the_training_images_alone(index, monkeypatch):
    seen = []

    def fit(self, features, target, **kwargs):
        seen.append({tuple(row) for row in features})
        return real(self, features, target, **kwargs)

    real = LogisticRegression.fit
    monkeypatch.setattr(LogisticRegression, "fit", fit)
    drawn = resplit_results.redraw(index, Plan(4, FRACTIONS))
    given = features(index, strength=1.0)
    resplit_results.auc_on_test(given, drawn, SETTINGS)
    learnt = given.to_numpy()[drawn["split"] == "train"]
    scaled = (learnt - learnt.mean(0)) / learnt.std(0)
    np.testing.assert_allclose(sorted(seen[-1]), sorted(map(tuple, scaled)))


def test_the_order_of_features_and_of_the_index_does_not_matter(index):
    given = features(index, strength=1.0)
    shuffled = given.sample(frac=1, random_state=2)
    assert resplit_results.auc_on_test(shuffled, index, SETTINGS) == resplit_results.auc_on_test(
        given, index, SETTINGS
    )
    sides = resplit_results.redraw(index, Plan(3, FRACTIONS)).set_index("image_id")["split"]
    other = index.sample(frac=1, random_state=5)  # with labels out of order
    again = resplit_results.redraw(other, Plan(3, FRACTIONS)).set_index("image_id")["split"]
    assert again.to_dict() == sides.to_dict()


def test_features_of_other_images_are_refused(index):
    with pytest.raises(DataError, match=r"The features .* 1 images have no row"):
        resplit_results.auc_on_test(features(index, strength=1.0)[1:], index, SETTINGS)


def test_a_test_side_of_one_class_is_undefined(index):
    is_test = index["split"] == "test"
    without = index[~is_test | (index["target"] == 0)].reset_index(drop=True)
    assert np.isnan(resplit_results.auc_on_test(features(without, strength=1.0), without, SETTINGS))
    assert np.isfinite(resplit_results.auc_on_test(features(index, strength=1.0), index, SETTINGS))


def test_a_test_side_is_told_from_others_by_mean_spread_and_place():
    found = resplit_results.compare(0.75, np.array([0.6, 0.7, 0.8, np.nan]))
    assert found["mean"] == pytest.approx(0.7)
    assert found["sd"] == pytest.approx(0.1)
    assert found["overestimate"] == pytest.approx(0.05)
    assert found["share_below"] == pytest.approx(2 / 3)
    assert (found["low"], found["high"]) == pytest.approx((0.605, 0.795))
    assert found["num_defined"] == 3


def test_whether_splits_are_easy_for_both_methods_is_told():
    rising, falling, flat = (
        resplit_results.compare(0.5, np.array(values))
        for values in ([0.1, 0.2, 0.3], [0.9, 0.8, 0.7], [0.4] * 3)
    )
    assert resplit_results.correlation({"a": rising, "b": rising}) == pytest.approx(1)
    assert resplit_results.correlation({"a": rising, "b": falling}) == pytest.approx(-1)
    assert np.isnan(resplit_results.correlation({"a": rising, "b": flat}))
    assert np.isnan(resplit_results.correlation({"a": rising}))
    assert (
        "have a correlation of r = -1.00"
        in resplit_results.captions(results(correlation=-1.0))["resplit.png"]["caption"]
    )


@pytest.mark.parametrize(
    ("here", "others", "undefined"),
    [
        (0.7, [np.nan, np.nan], ("mean", "sd", "low", "high", "overestimate", "share_below")),
        (0.7, [0.6, np.nan], ("sd",)),
        (np.nan, [0.6, 0.7], ("here", "overestimate", "share_below")),
    ],
)
def test_what_cannot_be_told_is_undefined(here, others, undefined):
    found = resplit_results.compare(here, np.array(others))
    assert {name for name, value in found.items() if name != "others" and np.isnan(value)} == set(undefined)


def test_table_figure_and_words_tell_the_same():
    given = results()
    table = resplit_results.table(given)
    assert table["method"].tolist() == list(resplit_results.NAMES.values())
    assert table.iloc[0].tolist()[1:] == ["0.800", "0.700", "0.100", "0.605 to 0.795", "67"]
    assert "AUC 0.800 on this test set, 0.700 on 3 others (sd 0.100)" in resplit_results.finding(given)
    picture = resplit_results.figure(given, title="t", note="n")
    dots, mean, here = picture.axes[0].get_lines()[:3]
    assert dots.get_xdata().tolist() == [0.6, 0.7, 0.8]
    assert mean.get_xdata() == pytest.approx([0.7, 0.7])
    assert here.get_xdata() == [0.8]


def test_captions_say_what_it_is_and_whether_images_are_synthetic():
    said = resplit_results.captions(results())
    assert set(said) == {"resplit.csv", "resplit.png"}
    assert "not a medical device" in said["resplit.csv"]["caption"]
    assert "SYNTHETIC" not in said["resplit.csv"]["caption"]
    assert "SYNTHETIC" in resplit_results.captions(results(is_synthetic=True))["resplit.png"]["caption"]


def test_what_is_undefined_is_said_so_in_the_table_too():
    nothing = resplit_results.compare(float("nan"), np.full(3, np.nan))
    row = resplit_results.table(results(methods={resplit_results.COLOURS: nothing})).iloc[0]
    assert set(row.tolist()[1:]) == {"undefined"}
