"""The whole zoo goes through `inspect`: every specimen becomes a row with the facts behind its reasons."""

from typing import Any

import pandas as pd
import pytest

from tests.data.inspecting import inspect_images
from tests.data.zoo import build_zoo
from tests.execution.backends import processes

FORMATS = {"jpeg": "JPEG", "png": "PNG", "bmp": "BMP", "webp": "WEBP"}
FACTS: dict[str, dict[str, Any]] = {  # of single specimens, beside those that follow from their reasons
    "bomb": {"format": "PNG", "width": 30_000, "height": 30_000, "is_truncated": False},
    "hollow": {"format": "PNG", "width": 800, "height": 600},
    "cmyk": {"mode": "CMYK"},
    "16_bit": {"mode": "I;16", "bit_depth": 16},
    "16_bit_colour": {"mode": "RGB", "bit_depth": 16},
    "palette": {"mode": "P", "bit_depth": 8},
    "alpha": {"mode": "RGBA"},
    "grey": {"mode": "L", "saturation": 0},
    "animated_gif": {"format": "GIF", "num_frames": 3, "width": 320, "extension_fits": True},
    "animated_webp": {"format": "WEBP", "num_frames": 3, "width": 320},
    "animated_png": {"format": "PNG", "num_frames": 3, "width": 320},
    "still_gif": {"format": "GIF", "num_frames": 1},
    "stereo_jpeg": {"format": "MPO", "num_frames": 1},
    "exif_3": {"exif_orientation": 3, "width": 320, "height": 240},
    "exif_6": {"exif_orientation": 6, "width": 240, "height": 320},
    "png_as_jpg": {"format": "PNG"},
    "jpeg_as_png": {"format": "JPEG"},
    "tiny": {"width": 32, "height": 24},
    "black": {"brightness": 0, "dark_border_fraction": 1},
    "white": {"brightness": 1, "clipped_fraction": 1},
    "mask_fits": {"mask_fits": True},
    "mask_smaller": {"mask_decodes": True},
    "mask_of_a_speck": {"lesion_fraction": 16 / (240 * 320)},
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return build_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def table(zoo, params):
    """Facts of the zoo by the names of its specimens."""
    root = zoo[0].path.parent
    records = pd.DataFrame(
        {
            "image_id": [specimen.name for specimen in zoo],
            "path": [specimen.path.name for specimen in zoo],
            "mask_path": [specimen.mask_path and specimen.mask_path.name for specimen in zoo],
        }
    )
    measured = inspect_images(
        records, root=root, settings=params.inspect, execution=processes(2), description="zoo"
    )
    return measured.set_index("image_id")


def test_every_specimen_has_a_row_of_its_own(zoo, table):
    assert table.index.is_unique
    assert table.index.tolist() == [specimen.name for specimen in zoo]


def test_each_specimen_gets_its_reasons_and_no_others(zoo, table, params):
    limits = params.checks
    side = table[["width", "height"]].min(axis=1)
    failed = {
        "unreadable": ~table["decodes"],
        "truncated": table["is_truncated"],
        "animated": table["num_frames"] > 1,
        "extension_contradicts_format": ~table["extension_fits"],
        "mode_not_allowed": table["mode"].notna() & ~table["mode"].isin(limits.modes),
        "bit_depth_not_allowed": table["bit_depth"] > limits.max_bit_depth,
        "too_small": side < limits.min_image_side,
        "blurred": table["sharpness"] < limits.min_sharpness,
        "bad_exposure": ~table["brightness"].between(limits.min_brightness, limits.max_brightness),
        "no_contrast": table["contrast"] < limits.min_contrast,
        "no_colour": table["saturation"] < limits.min_saturation,
        "clipped": table["clipped_fraction"] > limits.max_clipped_fraction,
        "dark_border": table["dark_border_fraction"] > limits.max_dark_border_fraction,
        "hairy": table["hair_fraction"] > limits.max_hair_fraction,
        "mask_broken": ~table["mask_decodes"],
        "mask_of_other_geometry": ~table["mask_fits"],
        "lesion_tiny": table["lesion_fraction"] < limits.min_lesion_fraction,
    }
    found = pd.DataFrame(failed).fillna(False).astype(bool)
    given = {name: {str(reason) for reason in row.index[row]} for name, row in found.iterrows()}
    assert given == {specimen.name: specimen.reasons for specimen in zoo}


def test_what_does_not_decode_says_why_and_what_does_says_nothing(table):
    assert table.loc[~table["decodes"], "problem"].notna().all()
    assert table.loc[table["decodes"], "problem"].isna().all()


def test_what_decodes_has_every_measure_and_all_else_none(table):
    measures = ["pixels_sha256", "sharpness", "saturation", "hair_fraction", "phashes", "thumbnail"]
    assert table.loc[table["decodes"], measures].notna().all(axis=None)
    assert table.loc[~table["decodes"], measures].isna().all(axis=None)


@pytest.mark.parametrize("prefix", FORMATS)
def test_a_truncated_file_still_tells_its_format(table, prefix):
    rows = table[table.index.str.match(rf"{prefix}_of_\d_tenths")]
    assert len(rows) == 9
    assert set(rows["format"]) == {FORMATS[prefix]}
    assert rows["extension_fits"].all()
    if prefix != "webp":  # Pillow needs all of it
        assert set(rows["width"]) == {320}


def test_no_picture_of_the_zoo_is_a_copy_of_another(table):
    assert table["sha256"].dropna().is_unique
    assert table["pixels_sha256"].dropna().is_unique


@pytest.mark.parametrize("name", FACTS)
def test_single_specimens_have_the_facts_they_were_made_for(table, name):
    assert table.loc[name, list(FACTS[name])].to_dict() == pytest.approx(FACTS[name])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("empty", "not a JPEG, PNG, BMP, WEBP image"),
        ("text", "not a JPEG, PNG, BMP, WEBP image"),
        ("bomb", "30000 x 30000 pixels, more than 64,000,000"),
        ("folder", "cannot be read (Is a directory)"),
        ("dangling_link", "cannot be read (No such file or directory)"),
        ("endless_link", "cannot be read (Too many levels of symbolic links)"),
        ("animated_gif", "looks like GIF: convert it"),
        ("animated_png", "animated (3 frames)"),
        ("webp_of_3_tenths", "the header of the WEBP image cannot be read"),
        ("damaged_png", "decoded completely"),
    ],
)
def test_problems_are_told_in_words(table, name, problem):
    assert problem in table.loc[name, "problem"]
