from pathlib import Path

import pytest

from melanoma.data.sources.source_files import describe_unused, fit_masks, require_fitting_masks, unused_files
from melanoma.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "a_segmentation.png",
        "a_Segmentation.PNG",
        "a_mask.jpg",
        "a_MASK.png",
        "a_lesion.bmp",
        "a-mask.png",
        "a mask.png",
        "a_segmentation_mask.png",
    ],
)
def test_a_mask_may_have_any_usual_name(tmp_path, name):
    assert fit_masks(touch(tmp_path, name), {"a", "b"}) == {"a": tmp_path / name}


@pytest.mark.parametrize("name", ["a_superpixels.png", "A.png", "ab_mask.png", "amask.png", "_mask.png"])
def test_a_mask_of_another_name_fits_no_image(tmp_path, name):
    touch(tmp_path, name, "b_mask.png")
    masks = fit_masks(tmp_path, {"a", "b"})
    assert list(masks) == ["b"]
    assert list(unused_files(tmp_path, masks.values())) == [name]


def test_an_image_may_be_called_as_masks_are(tmp_path):
    touch(tmp_path, "a_lesion_mask.png", "b_lesion.png")
    assert set(fit_masks(tmp_path, {"a_lesion", "b_lesion"})) == {"a_lesion", "b_lesion"}


def test_two_masks_of_one_image_are_refused_by_name(tmp_path):
    touch(tmp_path, "a.png", "a_segmentation.png", "b_mask.png")
    with pytest.raises(DataError, match=r"1 images have two masks: a\.png and a_segmentation\.png\. Keep"):
        fit_masks(tmp_path, {"a", "b"})
    assert len(fit_masks(tmp_path, {"b"})) == 1


def test_a_mask_whose_name_fits_two_images_is_refused(tmp_path):
    touch(tmp_path, "a_lesion.png")
    with pytest.raises(DataError, match=r"1 masks match two images: a_lesion\.png \(a_lesion and a\)"):
        fit_masks(tmp_path, {"a", "a_lesion"})


def test_masks_of_which_none_fits_are_refused_with_the_names_that_would(tmp_path):
    touch(tmp_path / "masks", "x.png", "y.tif")
    with pytest.raises(
        DataError, match=r"2 files, and none is named as the mask .*: x\.png, y\.tif\. Name .*<image_id>_mask"
    ):
        require_fitting_masks(tmp_path / "masks", [])
    require_fitting_masks(tmp_path / "masks", [tmp_path / "masks" / "x.png"])


def test_an_empty_folder_of_masks_is_legal(tmp_path):
    require_fitting_masks(touch(tmp_path, ".DS_Store"), [])


def test_unused_are_files_of_other_formats_and_in_subfolders_but_nothing_hidden(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "b.tif", "deeper/c.jpg", ".hidden.jpg", ".git/d.jpg", "deeper/used.jpg")
    monkeypatch.chdir(tmp_path)
    used = [tmp_path / "a.jpg", Path("deeper/used.jpg")]
    assert list(unused_files(tmp_path, used)) == ["b.tif", "deeper/c.jpg"]


def test_what_is_unused_is_counted_and_named_by_kind():
    assert describe_unused(masks=[], other_files=()) == ""
    assert describe_unused(masks=list("abcdefg"), other_files=["x.tif"]) == (
        "unused: 7 masks (a, b, c, d, e and 2 more), 1 other files (x.tif)"
    )
