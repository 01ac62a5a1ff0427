import pytest

from melanoma.data.sources import ham10000, raw_folder, readers
from melanoma.errors import DataError
from melanoma.schema import CLASSES, diagnosis_classes
from tests.data.toys import TARGET_RULE

HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization"
NEVUS = "HAM_1,ISIC_1,nv,follow_up,50.0,male,lower extremity"
SECOND_VIEW = "HAM_1,ISIC_2,nv,follow_up,50.0,male,lower extremity"
MELANOMA = "HAM_2,ISIC_3,mel,histo,,unknown,unknown"


def write_source(folder, *rows, header=HEADER, parts=("part_1", "part_2")):
    """The table, and the images of the rows, which take turns in the two folders."""
    for part in parts:
        (folder / part).mkdir(parents=True)
    for number, row in enumerate(rows):
        name = row.split(",")[1]
        (folder / parts[number % len(parts)] / f"{name}.jpg").write_bytes(name.encode())
    (folder / "table.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def open_source(folder, *, is_partial=False):
    parts = sorted(path for path in folder.iterdir() if path.is_dir())
    return ham10000.open_source(folder / "table.csv", parts, is_partial=is_partial)


def read(tmp_path, *rows, header=HEADER):
    raw_folder.write_raw(
        open_source(write_source(tmp_path / "source", *rows, header=header)), tmp_path / "raw"
    )
    return readers.read_records(
        "ham10000", tmp_path / "raw", licence="CC-BY-NC", attribution="HAM10000", **TARGET_RULE
    )


def test_a_row_becomes_a_record(tmp_path):
    records = read(tmp_path, NEVUS, SECOND_VIEW, MELANOMA)
    assert records.iloc[0].dropna().to_dict() == {
        "image_id": "ISIC_1",
        "dataset": "ham10000",
        "diagnosis": "nevus",
        "target": 0,
        "lesion_id": "HAM_1",
        "age_years": 50.0,
        "sex": "male",
        "anatom_site": "lower extremity",
        "image_type": "dermoscopic",
        "source_collection": "HAM10000",
        "licence": "CC-BY-NC",
        "attribution": "HAM10000",
        "is_synthetic": False,
        "path": f"{(tmp_path / 'raw').as_posix()}/images/ISIC_1.jpg",
    }
    assert records["target"].tolist() == [0, 0, 1]
    assert records.iloc[2][["age_years", "sex", "anatom_site", "malignancy"]].isna().all()


def test_every_code_has_a_class_of_its_own(tmp_path):
    codes = ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")
    rows = [f"L{number},I{number},{code},histo,50,male,back" for number, code in enumerate(codes)]
    classes = diagnosis_classes(read(tmp_path, *rows)["diagnosis"])
    assert classes.tolist() == [
        *("nevus", "melanoma", "benign keratosis", "basal cell carcinoma"),
        *("actinic keratosis or squamous cell carcinoma", "vascular lesion", "dermatofibroma"),
    ]
    assert set(CLASSES) - set(classes) == {"other"}


def test_a_table_with_tabs_and_the_clinic_is_read_too(tmp_path):
    folder = write_source(tmp_path, f"{NEVUS},rosendahl", header=f"{HEADER},dataset")
    text = (folder / "table.csv").read_text().replace(",", "\t")
    (folder / "table.tab").write_text(text)
    dataset = ham10000.open_source(
        folder / "table.tab", [folder / "part_1", folder / "part_2"], is_partial=False
    )
    raw_folder.write_raw(dataset, tmp_path / "raw")
    row = ham10000.read_records(tmp_path / "raw").iloc[0]
    assert row[["diagnosis", "source_collection"]].tolist() == ["nevus", "rosendahl"]


@pytest.mark.parametrize("code", ["NEVUS", "scc", "0"])
def test_an_unknown_code_is_refused_and_its_row_named(tmp_path, code):
    folder = write_source(tmp_path, NEVUS, MELANOMA.replace("mel", code))
    with pytest.raises(
        DataError,
        match=rf"1 cells cannot be read: dx '{code}' \(row 3, ISIC_3\)\. Expected dx: one of nv, mel",
    ):
        open_source(folder)


def test_a_blank_code_gives_no_target(tmp_path):
    assert read(tmp_path, MELANOMA.replace("mel", ""))["target"].isna().all()


def test_a_missing_column_is_refused(tmp_path):
    folder = write_source(tmp_path, NEVUS, header=HEADER.replace("dx,", "diagnosis,"))
    with pytest.raises(DataError, match=r"table\.csv lacks the columns \['dx'\]; it has"):
        open_source(folder)


def test_rows_without_images_are_refused_with_the_first_five_or_left_out(tmp_path):
    rows = [f"L{number},I{number},nv,histo,50,male,back" for number in range(8)]
    folder = write_source(tmp_path, *rows)
    for number in range(1, 8):
        (folder / f"part_{number % 2 + 1}" / f"I{number}.jpg").unlink()
    with pytest.raises(DataError, match="7 rows have no image file: I1, I2, I3, I4, I5 and 2 more"):
        open_source(folder)
    dataset = open_source(folder, is_partial=True)
    assert dataset.metadata["image_id"].tolist() == ["I0"]
    assert dataset.remarks.startswith("unused: 7 rows without an image (I1, ")


def test_images_that_are_not_found_are_named_beside_the_files_that_are_there(tmp_path):
    folder = write_source(tmp_path, NEVUS)
    (folder / "part_1" / "inner").mkdir()
    (folder / "part_1" / "ISIC_1.jpg").rename(folder / "part_1" / "inner" / "ISIC_1.jpg")
    (folder / "part_2" / "isic_1.jpg").write_bytes(b"lower case")
    with pytest.raises(
        DataError, match=r"no image file: ISIC_1\. .* ignored: isic_1\.jpg, inner/ISIC_1\.jpg\. Expected <id>"
    ):
        open_source(folder)


def test_a_column_like_ours_is_replaced_however_it_is_written(tmp_path):
    folder = write_source(tmp_path / "source", f"{NEVUS},x.png", header=f"{HEADER},Image File")
    dataset = open_source(folder)
    assert dataset.remarks == "unused: 1 columns replaced by ours (Image File)"
    raw_folder.write_raw(dataset, tmp_path / "raw")
    assert ham10000.read_records(tmp_path / "raw")["image_file"].tolist() == ["ISIC_1.jpg"]


def test_images_without_a_row_are_counted_and_left_out(tmp_path):
    folder = write_source(tmp_path, NEVUS)
    (folder / "part_2" / "stray.jpg").write_bytes(b"stray")
    dataset = open_source(folder)
    assert dataset.remarks == "unused: 1 images without a row (stray.jpg)"
    assert list(dataset.images) == ["ISIC_1.jpg"]


def test_an_image_may_lie_in_both_folders_if_its_bytes_are_the_same(tmp_path):
    folder = write_source(tmp_path, NEVUS)
    (folder / "part_2" / "ISIC_1.jpg").write_bytes(b"ISIC_1")
    assert list(open_source(folder).images) == ["ISIC_1.jpg"]
    (folder / "part_2" / "ISIC_1.jpg").write_bytes(b"other")
    with pytest.raises(DataError, match=r"1 images lie in two folders with different content: .*ISIC_1\.jpg"):
        open_source(folder)


# ---- the real images ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(real_data, params, tmp_path_factory):
    origin, folder = real_data / "ham10000", tmp_path_factory.mktemp("ham10000")
    dataset = ham10000.open_source(
        origin / "HAM10000_metadata.csv", [origin / "images", origin / "images"], is_partial=False
    )
    assert dataset.remarks == ""
    dataset.metadata.to_csv(folder / "metadata.csv", index=False)
    (folder / "images").symlink_to(origin / "images")
    defaults, target = params.ingest["ham10000"], params.target
    return readers.read_records(
        "ham10000",
        folder,
        licence=defaults.licence,
        attribution=defaults.attribution,
        positive=target.positive,
        malignant_without_diagnosis=target.malignant_without_diagnosis,
    )


@pytest.mark.real_data
def test_the_real_images_have_196_melanomas_and_no_unclear_label(real, params):
    assert len(real) == 2393
    counts = diagnosis_classes(real["diagnosis"]).value_counts().to_dict()
    assert counts == {
        "nevus": 1729, "benign keratosis": 233, "melanoma": 196, "basal cell carcinoma": 106,
        "actinic keratosis or squamous cell carcinoma": 73, "vascular lesion": 32, "dermatofibroma": 24,
    }  # fmt: skip
    assert int(real["target"].sum()) == 196
    assert real[["target", "lesion_id"]].notna().all(axis=None)
    assert set(real["licence"]) <= set(params.checks.licences)


@pytest.mark.real_data
def test_the_real_lesions_have_one_image_each(real):
    assert real["lesion_id"].is_unique
