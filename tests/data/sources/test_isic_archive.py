import re
from pathlib import Path

import pandas as pd
import pytest

from melanoma.data.sources import readers
from melanoma.data.sources.isic_api import Selection
from melanoma.data.sources.isic_archive import open_archive
from melanoma.data.sources.raw_folder import add_to, write_raw
from melanoma.errors import DataError
from tests.data.archive_server import Image, serve, settings_for, shortened, status
from tests.data.toys import TARGET_RULE

FIRST = "ISIC_0000001"


@pytest.fixture
def archive():
    with serve([Image(number) for number in range(1, 6)]) as archive:
        yield archive


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "isic"


def fetch(archive, out: Path, *, is_partial: bool = False, adds: bool = False, **selection) -> str:
    """Write what a selection comes to; returns the remarks."""
    settings = settings_for(archive)
    with open_archive(Selection(**selection), out, settings=settings, is_partial=is_partial) as dataset:
        whole = add_to(out, dataset) if adds else dataset
        write_raw(whole, out)
        return whole.remarks


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_images_and_metadata_become_a_raw_folder_that_the_reader_knows(archive, out):
    archive.images[1].clinical = {
        "benign_malignant": None,
        "diagnosis_1": "Malignant",
        "diagnosis_3": "Melanoma, NOS",
    }
    archive.images[2].changes = {"copyright_license": "CC-BY", "attribution": "Another clinic"}
    assert fetch(archive, out, collections=(65,)) == "5 found, left out: none; 5 newly downloaded"
    assert names(out) == {"images", "masks", "metadata.csv"}
    assert names(out.parent) == {"isic"}
    records = readers.read_records("isic", out, licence=None, attribution=None, **TARGET_RULE)
    assert records["target"].tolist() == [0, 1, 0, 0, 0]
    assert records["diagnosis"].tolist()[1] == "melanoma"
    assert records["licence"].tolist() == ["CC-0", "CC-0", "CC-BY", "CC-0", "CC-0"]
    assert records["attribution"].tolist()[2] == "Another clinic"
    assert set(records["source_collection"]) == {"65"}
    assert (out / "images" / f"{FIRST}.jpg").read_bytes() == archive.images[0].content


def test_what_the_raw_folder_holds_is_not_downloaded_again(archive, out):
    fetch(archive, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    archive.requests.clear()
    assert fetch(archive, out).endswith("0 newly downloaded")
    assert archive.file_requests() == {}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_damaged_image_of_the_raw_folder_is_downloaded_again(archive, out):
    fetch(archive, out)
    archive.requests.clear()
    (out / "images" / f"{FIRST}.jpg").write_bytes(bytes(len(archive.images[0].content)))
    fetch(archive, out)
    assert archive.file_requests() == {FIRST: 1}
    assert (out / "images" / f"{FIRST}.jpg").read_bytes() == archive.images[0].content


def test_a_raw_folder_that_came_otherwise_is_replaced(archive, out):
    (out / "images").mkdir(parents=True)
    (out / "images" / "a.jpg").write_bytes(b"a")
    (out / "metadata.csv").write_text("image_id,benign_malignant,image_file,mask_file\na,benign,a.jpg,\n")
    fetch(archive, out, limit=1)
    assert names(out / "images") == {f"{FIRST}.jpg"}


def test_a_table_that_cannot_be_read_is_no_obstacle(archive, out):
    out.mkdir()
    (out / "metadata.csv").write_bytes(b"\xff\xff")
    fetch(archive, out, limit=1)
    assert names(out / "images") == {f"{FIRST}.jpg"}


def test_a_folder_that_must_not_be_replaced_is_refused_before_anything_is_asked_for(archive, out):
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="entries that are not part of a raw folder: thesis"):
        fetch(archive, out)
    assert not archive.requests


def test_missing_images_are_counted_named_and_nothing_is_replaced(archive, out):
    fetch(archive, out, limit=1)
    before = (out / "metadata.csv").read_bytes()
    for number in (2, 3):
        archive.faults[f"/files/ISIC_000000{number}"] = [status(404)]
    archive.faults["/files/ISIC_0000004"] = [shortened] * 9
    archive.images.append(Image(6, changes={"files": {}}))
    with pytest.raises(
        DataError,
        match=r"^4 of 6 images are missing: ISIC_0000002 \(HTTP 404 Not Found\), ISIC_0000003 .*"
        r"failures\.csv\. .*isic was not changed\. The 2 downloaded images are kept: run the same command",
    ):
        fetch(archive, out)
    assert (out / "metadata.csv").read_bytes() == before
    failures = pd.read_csv(out.parent / ".isic.fetch" / "failures.csv")
    assert failures["isic_id"].tolist() == [f"ISIC_000000{number}" for number in (2, 3, 4, 6)]
    assert failures["reason"].str.contains("404|were received, expected|files.full").all()


@pytest.mark.parametrize(
    ("clinical", "reason"),
    [
        ({"age_approx": "old"}, "age_approx 'old' cannot be read, expected years from 0 to 150"),
        ({"sex": "robot"}, "sex 'robot' cannot be read, expected female, male"),
        ({"benign_malignant": "maligant"}, "benign_malignant 'maligant' cannot be read"),
    ],
)
def test_a_record_that_cannot_be_translated_is_named_before_anything_is_downloaded(
    archive, out, clinical, reason
):
    archive.images = [Image(1), Image(2, clinical=clinical)]
    with pytest.raises(DataError, match=rf"1 of 2 images are missing: ISIC_0000002 \({re.escape(reason)}"):
        fetch(archive, out)
    assert archive.file_requests() == {FIRST: 1}
    assert not out.exists()


def test_words_of_records_are_translated_as_those_of_a_table(archive, out):
    archive.images = [
        Image(1, clinical={"age_approx": "85+", "sex": "Female", "benign_malignant": " Malignant"}),
        Image(2, clinical={"age_approx": "unknown", "sex": "unknown"}, acquisition={"image_type": None}),
        Image(3, acquisition={"image_type": "clinical: close-up"}),
    ]
    assert fetch(archive, out) == (
        "3 found, left out: 1 not dermoscopic; 2 newly downloaded; image type not stated for 1"
    )
    records = readers.read_records("isic", out, licence=None, attribution=None, **TARGET_RULE)
    assert records["age_years"].fillna(-1).tolist() == [85.0, -1]
    assert records["sex"].fillna("blank").tolist() == ["female", "blank"]
    assert records["target"].tolist() == [1, 0]
    assert records["image_type"].fillna("blank").tolist() == ["dermoscopic", "blank"]


def test_what_came_is_kept_until_all_is_there(archive, out):
    archive.faults[f"/files/{FIRST}"] = [status(404)]
    with pytest.raises(DataError, match="1 of 5 images are missing"):
        fetch(archive, out)
    archive.requests.clear()
    assert fetch(archive, out).endswith("1 newly downloaded")
    assert archive.file_requests() == {FIRST: 1}
    assert names(out.parent) == {"isic"}


def test_partial_writes_what_came_and_still_tells_what_is_missing(archive, out):
    archive.faults[f"/files/{FIRST}"] = [status(404)]
    with pytest.raises(DataError, match=r"1 of 5 images are missing: .*isic was written without them\."):
        fetch(archive, out, is_partial=True)
    assert len(names(out / "images")) == 4
    assert names(out.parent / ".isic.fetch") == {"failures.csv"}
    archive.requests.clear()
    fetch(archive, out)
    assert archive.file_requests() == {FIRST: 1}


def test_partial_with_nothing_at_all_is_refused(archive, out):
    archive.faults[f"/files/{FIRST}"] = [status(404)]
    with pytest.raises(DataError, match="has no rows with an image"):
        fetch(archive, out, is_partial=True, limit=1)
    assert not out.exists()


def test_images_that_no_page_lists_are_counted_as_missing(archive, out):
    def move_the_first_to_the_end(number):
        if number == 1:
            archive.images.append(archive.images.pop(0))

    archive.before_page = move_the_first_to_the_end
    with pytest.raises(
        DataError,
        match=(
            r"1 of 5 images are missing\. The archive counts 1 images that are on none of its "
            r"pages"
        ),
    ):
        fetch(archive, out)
    archive.before_page = lambda number: None
    assert fetch(archive, out).endswith("1 newly downloaded")
    assert len(names(out / "images")) == 5


def test_a_selection_without_an_image_is_refused_and_says_what_was_left_out(archive, out):
    for image in archive.images[:2]:
        image.changes["public"] = False
    with pytest.raises(
        DataError,
        match=(
            r"matches the options\. 5 found, left out: 2 not public, 3 with "
            r"another licence\.$"
        ),
    ):
        fetch(archive, out, licences=("CC-BY",))
    assert not list(out.parent.iterdir())


def test_adding_keeps_what_is_there(archive, out):
    archive.images[3].collections = archive.images[4].collections = (66,)
    fetch(archive, out, collections=(65,))
    old = pd.read_csv(out / "metadata.csv", dtype="string")
    archive.requests.clear()
    remarks = fetch(archive, out, collections=(65, 66), adds=True)
    assert remarks.startswith("2 added to 3 existing images; 5 found")
    assert set(archive.file_requests()) == {"ISIC_0000004", "ISIC_0000005"}
    new = pd.read_csv(out / "metadata.csv", dtype="string")
    pd.testing.assert_frame_equal(new.iloc[:3], old)
    assert len(names(out / "images")) == 5
