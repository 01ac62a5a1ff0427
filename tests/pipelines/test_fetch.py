import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pipelines import _cli, fetch
from tests.pipelines.workspace import inside

ROW = "|| {} || || {} || 0 | T | A | A | A | A || 3 4 ||\n"


def make_ph2(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    for name in ("IMD001", "IMD002", "IMD003"):
        Image.new("RGB", (160, 160), (200, 150, 130)).save(folder / "images" / f"{name}.png")
    rows = "".join(ROW.format(name, code) for name, code in (("IMD001", 0), ("IMD002", 1), ("IMD003", 2)))
    (folder / "PH2_dataset.txt").write_text(rows)
    return folder


def make_isic(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    for name in ("ISIC_1", "ISIC_2"):
        Image.new("RGB", (160, 160), (200, 150, 130)).save(folder / "images" / f"{name}.jpg")
    (folder / "metadata.csv").write_text("isic_id,benign_malignant\nISIC_1,benign\nISIC_2,malignant\n")
    return folder


@pytest.fixture
def repository(tmp_path):
    """The current folder is an empty git and DVC repository."""
    folder = tmp_path / "repository"
    folder.mkdir()
    with inside(folder):
        subprocess.run(["git", "init", "-q"], check=True)
        subprocess.run(["dvc", "init", "-q"], check=True)
        yield folder


def run(*arguments: str) -> int:
    return _cli.run(fetch.main, arguments)


def test_ph2_is_written_and_put_under_dvc(repository, tmp_path, capsys):
    assert run("ph2", "--source", str(make_ph2(tmp_path / "source"))) == 0
    assert "3 images, 0 masks written in data/raw/ph2" in capsys.readouterr().out
    assert (repository / "data/raw/ph2.dvc").is_file()
    assert len(pd.read_csv("data/raw/ph2/metadata.csv")) == 3


def test_the_same_input_twice_changes_nothing(repository, tmp_path, capsys):
    source = make_isic(tmp_path / "source")
    arguments = ("isic", "--metadata", f"{source}/metadata.csv", "--images", f"{source}/images")
    assert run(*arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in Path("data/raw").rglob("*")}
    pointer = Path("data/raw/isic.dvc").read_bytes()
    capsys.readouterr()
    assert run(*arguments) == 0
    assert "unchanged" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in Path("data/raw").rglob("*") if path.is_file()}
    assert {path: before[path] for path in after if "isic/" in str(path)} == {
        path: time for path, time in after.items() if "isic/" in str(path)
    }
    assert Path("data/raw/isic.dvc").read_bytes() == pointer


def test_a_zip_is_read_like_its_folder(repository, tmp_path):
    source = make_ph2(tmp_path / "PH2")
    with zipfile.ZipFile(tmp_path / "ph2.zip", "w") as archive:
        for file in sorted(source.rglob("*")):
            archive.write(file, file.relative_to(tmp_path))
    assert run("ph2", "--source", str(tmp_path / "ph2.zip"), "--no-dvc") == 0
    assert len(list(Path("data/raw/ph2/images").iterdir())) == 3


def test_a_row_without_an_image_is_refused_and_nothing_is_written(repository, tmp_path, capsys):
    source = make_ph2(tmp_path / "source")
    (source / "images/IMD002.png").unlink()
    assert run("ph2", "--source", str(source)) == 1
    assert "1 rows have no image file: IMD002" in capsys.readouterr().err
    assert not Path("data/raw").exists()
    assert run("ph2", "--source", str(source), "--partial", "--no-dvc") == 0
    assert len(pd.read_csv("data/raw/ph2/metadata.csv")) == 2


def test_an_image_without_a_row_is_refused(repository, tmp_path, capsys):
    source = make_isic(tmp_path / "source")
    Image.new("RGB", (160, 160)).save(source / "images/ISIC_9.jpg")
    assert run("isic", "--metadata", f"{source}/metadata.csv", "--images", f"{source}/images") == 1
    assert "1 image files have no row: ISIC_9" in capsys.readouterr().err
    assert not Path("data/raw").exists()


def test_outside_a_repository_the_data_stay_and_the_message_says_what_to_do(tmp_path, capsys):
    source = make_ph2(tmp_path / "source")
    (tmp_path / "elsewhere").mkdir()
    with inside(tmp_path / "elsewhere"):
        assert run("ph2", "--source", str(source)) == 1
        assert "--no-dvc" in capsys.readouterr().err
        assert Path("data/raw/ph2/metadata.csv").is_file()


def test_a_folder_that_holds_other_things_is_never_replaced(repository, tmp_path, capsys):
    source = make_ph2(tmp_path / "source")
    Path("notes").mkdir()
    Path("notes/thesis.txt").write_text("years of work")
    assert run("ph2", "--source", str(source), "--out", "notes", "--no-dvc") == 1
    assert "things that are not part of a raw folder: thesis.txt" in capsys.readouterr().err
    assert Path("notes/thesis.txt").read_text() == "years of work"


def test_a_source_inside_the_raw_folder_is_refused_and_kept(repository, capsys):
    source = make_ph2(Path("data/raw/ph2"))
    assert run("ph2", "--source", str(source), "--no-dvc") == 1
    assert "lie in one another" in capsys.readouterr().err
    assert (source / "PH2_dataset.txt").is_file()


def test_columns_of_the_source_that_have_our_names_do_not_count(repository, tmp_path):
    source = make_isic(tmp_path / "source")
    text = "isic_id,image_id,mask_file,benign_malignant\nISIC_1,x,y,benign\nISIC_2,x,y,malignant\n"
    (source / "metadata.csv").write_text(text)
    arguments = ("--metadata", f"{source}/metadata.csv", "--images", f"{source}/images", "--no-dvc")
    assert run("isic", *arguments) == 0
    assert pd.read_csv("data/raw/isic/metadata.csv")["image_id"].tolist() == ["ISIC_1", "ISIC_2"]


def test_a_folder_in_the_place_of_the_metadata_is_refused(repository, tmp_path, capsys):
    source = make_isic(tmp_path / "source")
    assert run("isic", "--metadata", str(source), "--images", f"{source}/images") == 1
    assert "cannot be read as CSV" in capsys.readouterr().err


def test_a_link_to_another_disk_stays_a_link(repository, tmp_path):
    (tmp_path / "disk").mkdir()
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/ph2").symlink_to(tmp_path / "disk")
    assert run("ph2", "--source", str(make_ph2(tmp_path / "source")), "--no-dvc") == 0
    assert Path("data/raw/ph2").is_symlink()
    assert len(pd.read_csv(tmp_path / "disk/metadata.csv")) == 3
