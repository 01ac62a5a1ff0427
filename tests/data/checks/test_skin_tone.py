"""The individual typology angle: counted by hand, what is left out, and against the tones of the sample."""

import math

import cv2
import numpy as np
import pandas as pd
import pytest

from melanoma.data.checks import measures
from melanoma.data.checks.inspection import ImageFile, inspect_file
from melanoma.data.sources import sample
from melanoma.data.tone_classes import EDGES, PREFIX, tone_classes

SIDE = 256
SKIN, PIGMENT = (205, 160, 140), (60, 35, 30)
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
RADIUS = np.hypot(Y, X)


@pytest.fixture
def estimate(params):
    def estimate(picture, lesion=None):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return measures.measure(picture, grey, params.inspect, lesion=lesion)

    return estimate


def plain(colour=SKIN) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


def angle_of(colour) -> float:
    """By the formulas of IEC 61966-2-1 (sRGB) and CIE 1976 (L*a*b*), white D65."""
    fractions = np.array(colour) / 255
    linear = np.where(fractions <= 0.04045, fractions / 12.92, ((fractions + 0.055) / 1.055) ** 2.4)
    matrix = [[0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    y, z = matrix @ linear / np.array([1.0, 1.089])
    lightness, yellow = 116 * np.cbrt(y) - 16, 200 * (np.cbrt(y) - np.cbrt(z))
    return math.degrees(math.atan((lightness - 50) / yellow))


@pytest.mark.parametrize("colour", [SKIN, (240, 205, 190), (120, 82, 60), (75, 50, 40)])
def test_the_angle_of_plain_skin_is_that_of_the_formula(estimate, colour):
    found = estimate(plain(colour))
    assert found["ita_degrees"] == pytest.approx(angle_of(colour), abs=0.5)
    assert "ita_problem" not in found


def test_a_lesion_does_not_count_with_a_mask_or_in_the_middle(estimate):
    picture, wide = plain(), plain()
    picture[RADIUS < 90] = PIGMENT
    wide[RADIUS < 120] = PIGMENT
    assert estimate(picture)["ita_degrees"] == pytest.approx(angle_of(SKIN), abs=0.3)
    assert estimate(wide, RADIUS < 120)["ita_degrees"] == pytest.approx(angle_of(SKIN), abs=0.3)
    nowhere = np.zeros((SIDE, SIDE), bool)
    assert estimate(picture, nowhere)["ita_degrees"] == estimate(picture)["ita_degrees"]


def test_hair_ink_frame_and_its_shadow_do_not_count(estimate):
    picture = plain()
    picture[::20, :] = PIGMENT  # hairs of one pixel
    picture[:40, :100] = (40, 90, 200)
    assert estimate(picture)["ita_degrees"] == pytest.approx(angle_of(SKIN), abs=0.3)
    framed = np.where((RADIUS < 126)[..., None], plain(), 0).astype(np.uint8)
    framed[(RADIUS >= 117) & (RADIUS < 126)] = (120, 90, 80)
    assert estimate(framed, RADIUS < 40)["ita_degrees"] == pytest.approx(angle_of(SKIN), abs=0.3)


def test_too_little_skin_gives_nan_and_the_reason(estimate):
    nearly_all = RADIUS < 170
    found = estimate(plain(), nearly_all)
    assert math.isnan(found["ita_degrees"])
    assert found["ita_problem"] == "too little skin around the lesion"
    assert not math.isnan(estimate(plain(), RADIUS < 100)["ita_degrees"])


def test_a_cast_without_yellow_gives_nan_and_the_reason(estimate):
    found = estimate(plain((190, 150, 200)))
    assert math.isnan(found["ita_degrees"])
    assert found["ita_problem"] == "the skin has no yellow (b* at most 0)"


def test_the_darker_the_light_the_lower_the_angle_of_the_same_skin(estimate):
    angles = [estimate((plain() * factor).astype(np.uint8))["ita_degrees"] for factor in (1, 0.9, 0.7, 0.5)]
    assert angles == sorted(angles, reverse=True)


def test_each_angle_has_one_of_six_classes_and_each_says_that_it_is_an_estimate():
    angles = pd.Series([56, 55, 41, 28, 10, -30, -31, None], dtype="Float64")
    found = tone_classes(angles, pd.Series(None, index=angles.index, dtype="string"))
    assert found.iloc[:-1].str.removeprefix(PREFIX).tolist() == [
        *("1 very light", "2 light", "3 intermediate", "4 tan", "5 brown", "6 dark", "6 dark"),
    ]
    assert found.iloc[:-1].str.startswith(PREFIX).all()
    assert found.iloc[-1] == "not measurable"


def test_a_recorded_skin_type_comes_before_the_estimate():
    found = tone_classes(pd.Series([60.0, 60.0]), pd.Series([None, "III"], dtype="string"))
    assert found.tolist() == ["estimated from pixels: 1 very light", "recorded: see skin_type"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, params):
    """True and estimated angles of synthetic images, with and without their masks."""
    folder = tmp_path_factory.mktemp("tones")
    changes = {"num_lesions": 60, "num_second_views": 0, "image_size": 160}
    rows = sample.generate(folder, **params.sample.model_dump() | changes)
    rows = rows[rows["planted_fault"] == ""]

    def angles(*, with_masks):
        for row in rows.itertuples():
            mask = folder / "masks" / row.mask_file if with_masks else None
            file = ImageFile(str(row.image_id), folder / "images" / row.image_file, mask)
            yield inspect_file(file, settings=params.inspect)["ita_degrees"]

    estimates = {name: list(angles(with_masks=name == "mask")) for name in ("mask", "middle")}
    return rows["skin_ita_degrees"].astype(float).to_numpy(), pd.DataFrame(estimates)


# Measured: correlation 0.92 and 0.86, mean error 11 and 13 degrees, 87 and 85 % within one class. The light
# and the lens of the sample darken the picture, so that estimates are 9 and 12 degrees too low.
@pytest.mark.parametrize(("column", "low", "max_error"), [("mask", 0.85, 14), ("middle", 0.78, 17)])
def test_estimates_agree_with_the_tones_of_the_sample(drawn, column, low, max_error):
    truth, found = drawn[0], drawn[1][column].to_numpy(float)
    assert np.isfinite(found).all()
    assert np.corrcoef(truth, found)[0, 1] > low
    assert np.abs(found - truth).mean() < max_error
    assert -15 < (found - truth).mean() < 0
    is_near = np.abs(np.digitize(found, EDGES) - np.digitize(truth, EDGES)) <= 1
    assert is_near.mean() > 0.75


@pytest.mark.real_data
def test_most_real_skin_is_light_and_of_few_images_the_angle_is_unknown(real_facts, real_records):
    facts = real_facts.merge(real_records[["image_id", "dataset"]], on="image_id")
    medians = facts.groupby("dataset")["ita_degrees"].median()
    assert 50 < medians["ph2"] < 60
    assert 58 < medians["isic"] < 70
    assert facts["ita_degrees"].isna().groupby(facts["dataset"]).mean().max() < 0.15
