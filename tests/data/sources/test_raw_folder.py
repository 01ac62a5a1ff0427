import os
import re
from pathlib import Path

import pandas as pd
import pytest

from melanoma.data.sources import raw_folder
from melanoma.errors import DataError

Stamps = dict[str, tuple[int, int, bytes]]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content of {path.name}".encode())


def stamps(folder: Path) -> Stamps:
    """Inode, time of change and content of every file."""
    return {
        file.relative_to(folder).as_posix(): (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {name: stamp[2] for name, stamp in stamps(folder).items()}


def join(metadata: pd.DataFrame, images: dict, masks: dict | None = None, *, is_partial: bool = False):
    return raw_folder.join_files(
        metadata, images=images, masks=masks or {}, source="here.csv", is_partial=is_partial
    )


def rows(*image_ids: str | None) -> pd.DataFrame:
    return pd.DataFrame({"image_id": pd.array(image_ids, dtype="string")})


# ---- files of a folder -----------------------------------------------------------------------


def test_images_are_indexed_by_stem_and_other_files_are_ignored(tmp_path):
    touch(*(tmp_path / name for name in ("a.jpg", "b.JPEG", "c.png", "d.bmp", "e.WebP")))
    touch(tmp_path / "notes.txt", tmp_path / ".hidden.jpg", tmp_path / "deeper" / "f.jpg")
    found = raw_folder.index_files(tmp_path)
    assert {stem: file.name for stem, file in found.items()} == {
        "a": "a.jpg",
        "b": "b.JPEG",
        "c": "c.png",
        "d": "d.bmp",
        "e": "e.WebP",
    }


def test_two_files_of_one_stem_are_refused(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "a.png")
    with pytest.raises(DataError, match=r"has both a\.jpg and a\.png: keep one"):
        raw_folder.index_files(tmp_path)


def test_what_is_no_folder_is_refused(tmp_path):
    touch(tmp_path / "file")
    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(DataError, match=rf"{path.name} is not a folder"):
            raw_folder.index_files(path)


# ---- rows and their files --------------------------------------------------------------------


def test_rows_get_the_names_of_their_image_and_mask():
    plan = join(
        rows("a", "b").assign(age=[1, 2]),
        {"b": Path("x/b.png"), "a": Path("x/a.jpg")},
        {"a": Path("y/a_lesion.png"), "other": Path("y/other.png")},
    )
    assert plan.metadata["image_file"].tolist() == ["a.jpg", "b.png"]
    assert plan.metadata["mask_file"].isna().tolist() == [False, True]
    assert plan.metadata["mask_file"][0] == "a_lesion.png"
    assert plan.metadata["age"].tolist() == [1, 2]
    assert plan.images == {"a.jpg": Path("x/a.jpg"), "b.png": Path("x/b.png")}
    assert plan.masks == {"a_lesion.png": Path("y/a_lesion.png")}


def test_rows_without_a_file_are_refused_and_the_first_five_named():
    with pytest.raises(
        DataError, match=r"here\.csv: 7 rows have no image file: 1, 2, 3, 4, 5 and 2 more.*--partial"
    ):
        join(rows(*"01234567"), {"0": Path("0.png")})


def test_files_without_a_row_are_refused_and_the_first_five_named():
    with pytest.raises(DataError, match=r"here\.csv: 7 image files have no row: 1, 2, 3, 4, 5 and 2 more"):
        join(rows("0"), {name: Path(f"{name}.png") for name in "01234567"})


def test_partial_leaves_out_rows_without_a_file_and_still_refuses_files_without_a_row():
    assert join(rows("a", "b"), {"a": Path("a.png")}, is_partial=True).metadata["image_id"].tolist() == ["a"]
    with pytest.raises(DataError, match="1 image files have no row: c"):
        join(rows("a", "b"), {"a": Path("a.png"), "c": Path("c.png")}, is_partial=True)


@pytest.mark.parametrize(
    ("metadata", "is_partial", "message"),
    [
        (rows(), False, "here.csv has no rows."),
        (rows("b"), True, "here.csv has no rows with an image."),
        (rows("a", None), False, "1 rows have no image id"),
        (rows("a", "a"), False, "these occur more than once: a."),
    ],
)
def test_rows_that_name_no_image_or_one_twice_are_refused(metadata, is_partial, message):
    with pytest.raises(DataError, match=re.escape(message)):
        join(metadata, {"a": Path("a.png")}, is_partial=is_partial)


# ---- writing ---------------------------------------------------------------------------------


@pytest.fixture
def plan(tmp_path):
    source = tmp_path / "source"
    touch(source / "a.png", source / "b.png", source / "a_mask.png")
    return join(
        rows("a", "b").assign(note=["plain", 'comma, "quote" and\r\nnew lines']),
        {"a": source / "a.png", "b": source / "b.png"},
        {"a": source / "a_mask.png"},
    )


@pytest.fixture
def out(plan, tmp_path):
    """A folder that holds the plan already."""
    assert raw_folder.write_raw(plan, tmp_path / "out")
    return tmp_path / "out"


def test_images_masks_and_metadata_are_written(out, plan):
    assert set(contents(out)) == {"metadata.csv", "images/a.png", "images/b.png", "masks/a_mask.png"}
    assert contents(out)["images/b.png"] == b"content of b.png"
    written = pd.read_csv(out / "metadata.csv", dtype="string")
    pd.testing.assert_frame_equal(written, plan.metadata, check_dtype=False)


def test_a_written_table_can_be_read_whatever_its_cells_hold(plan, tmp_path):
    notes = ["old\rMac", "a\r\nb\nc"]
    odd = raw_folder.RawDataset(plan.metadata.assign(note=notes), plan.images, plan.masks)
    assert raw_folder.write_raw(odd, tmp_path / "out") is True
    table = raw_folder.read_metadata(tmp_path / "out")
    assert table["note"].tolist() == notes
    assert table["mask_file"].isna().tolist() == [False, True]
    assert raw_folder.write_raw(odd, tmp_path / "out") is False


def test_a_name_in_decomposed_letters_fits_its_row(tmp_path):
    source = tmp_path / "source" / "Mu\u0308ller.png"
    touch(source)
    plan = join(rows("M\u00fcller"), raw_folder.index_files(source.parent))
    assert plan.images == {"M\u00fcller.png": source}
    raw_folder.write_raw(plan, tmp_path / "out")
    name = tmp_path / "out" / "images" / "M\u00fcller.png"
    assert name.is_file()
    name.rename(name.with_name(source.name))  # as older versions wrote it
    assert raw_folder.write_raw(plan, tmp_path / "out") is True
    assert names_in(name.parent) == ["M\u00fcller.png"]


def test_writing_the_same_twice_touches_nothing(out, plan):
    before = stamps(out)
    assert raw_folder.write_raw(plan, out) is False
    assert stamps(out) == before


@pytest.mark.parametrize("name", ["images/a.png", "masks/a_mask.png", "metadata.csv"])
def test_a_changed_byte_in_the_folder_is_mended(out, plan, name):
    wanted = contents(out)
    content = bytearray(wanted[name])
    content[-2] ^= 0xFF  # the size stays; in the metadata it is no UTF-8 either
    (out / name).write_bytes(content)
    for file in [*plan.images.values(), *plan.masks.values(), out / name]:
        os.utime(file, ns=(0, 0))  # size and time alone would not tell
    assert raw_folder.write_raw(plan, out) is True
    assert contents(out) == wanted


def test_a_changed_byte_in_the_source_is_written(out, plan, tmp_path):
    (tmp_path / "source" / "a.png").write_bytes(b"CONTENT of a.png")
    assert raw_folder.write_raw(plan, out) is True
    assert contents(out)["images/a.png"] == b"CONTENT of a.png"


def test_a_missing_file_in_the_folder_is_mended_and_files_of_the_system_go(out, plan):
    wanted = contents(out)
    (out / "images" / "a.png").unlink()
    (out / "images" / "Thumbs.db").write_bytes(b"")
    (out / ".DS_Store").write_bytes(b"")
    assert raw_folder.write_raw(plan, out) is True
    assert contents(out) == wanted


@pytest.mark.parametrize(
    "name", ["images/own.png", "images/mine/notes.txt", "masks/own.txt", "images/.labels.json", ".dvcignore"]
)
def test_a_file_of_the_user_in_the_folder_is_not_lost(out, plan, name):
    touch(out / name)
    before = stamps(out)
    own = re.escape("/".join(name.split("/")[:2]))
    with pytest.raises(DataError, match=f"1 entries that are not part of a raw folder: {own}"):
        raw_folder.write_raw(plan, out)
    assert stamps(out) == before
    (out / name).unlink()
    if (out / "images" / "mine").is_dir():
        (out / "images" / "mine").rmdir()
    assert raw_folder.write_raw(plan, out) is False


def test_a_changed_row_is_written(out, plan):
    changed = raw_folder.RawDataset(plan.metadata.assign(note=["other", "words"]), plan.images, plan.masks)
    assert raw_folder.write_raw(changed, out) is True
    assert b"other" in contents(out)["metadata.csv"]


def test_a_copy_that_fails_leaves_the_old_folder_as_it_is(out, plan, tmp_path):
    before = stamps(out)
    (tmp_path / "source" / "b.png").unlink()
    broken = raw_folder.RawDataset(plan.metadata.assign(note="new"), plan.images, plan.masks)
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        raw_folder.write_raw(broken, out)
    assert stamps(out) == before
    assert names_in(tmp_path) == ["out", "source"]


def test_a_first_copy_that_fails_leaves_nothing(plan, tmp_path):
    (tmp_path / "source" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        raw_folder.write_raw(plan, tmp_path / "new")
    assert names_in(tmp_path) == ["source"]


# ---- adding ----------------------------------------------------------------------------------


def more(tmp_path, *image_ids, content=None, **columns):
    """A dataset of further images, each with a mask."""
    source = tmp_path / "more"
    for image_id in image_ids:
        touch(source / f"{image_id}.png", source / f"{image_id}_mask.png")
        if content is not None:
            (source / f"{image_id}.png").write_bytes(content)
    files = {image_id: source / f"{image_id}.png" for image_id in image_ids}
    masks = {image_id: source / f"{image_id}_mask.png" for image_id in image_ids}
    return join(rows(*image_ids).assign(**columns), files, masks)


def test_adding_to_nothing_writes_what_is_new(plan, tmp_path):
    assert raw_folder.add_to(tmp_path / "new", plan) is plan


def test_added_images_join_those_that_are_there_and_columns_are_united(out, tmp_path):
    before = contents(out)
    both = raw_folder.add_to(out, more(tmp_path, "c", age="55"))
    assert both.remarks == "1 added to 2 existing images"
    assert raw_folder.write_raw(both, out) is True
    assert contents(out) == {
        **before,
        "metadata.csv": contents(out)["metadata.csv"],
        "images/c.png": b"content of c.png",
        "masks/c_mask.png": b"content of c_mask.png",
    }
    table = pd.read_csv(out / "metadata.csv", dtype="string")
    assert table["image_id"].tolist() == ["a", "b", "c"]
    assert table["age"].isna().tolist() == [True, True, False]
    assert table["note"].isna().tolist() == [False, False, True]
    assert table["mask_file"].fillna("").tolist() == ["a_mask.png", "", "c_mask.png"]


def test_an_image_in_both_keeps_its_row_and_its_mask(out, tmp_path):
    before = stamps(out)
    both = raw_folder.add_to(out, more(tmp_path, "a", "b", note="other words"))
    assert both.remarks == (
        "0 added to 2 existing images; unused: new rows or masks of 2 existing images (a, b)"
    )
    assert raw_folder.write_raw(both, out) is False
    assert stamps(out) == before


def test_an_image_in_both_with_other_bytes_is_refused_by_name(out, tmp_path):
    before = stamps(out)
    with pytest.raises(
        DataError,
        match=(
            r"2 images exist in .*out with different content: a, b\. .*without "
            r"--add"
        ),
    ):
        raw_folder.add_to(out, more(tmp_path, "a", "b", "c", content=b"new"))
    assert stamps(out) == before


def test_adding_to_a_folder_that_lost_an_image_is_refused(out, tmp_path):
    (out / "images" / "a.png").unlink()
    with pytest.raises(DataError, match=r"names 1 images that are missing: a\. .*dvc checkout"):
        raw_folder.add_to(out, more(tmp_path, "c"))


def test_adding_to_what_is_no_raw_folder_is_refused(tmp_path):
    touch(tmp_path / "out" / "metadata.csv")
    (tmp_path / "out" / "metadata.csv").write_text("name\na\n")
    with pytest.raises(DataError, match="lacks the columns"):
        raw_folder.add_to(tmp_path / "out", more(tmp_path, "c"))
