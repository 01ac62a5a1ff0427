import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from melanoma.data.images import decode
from pipelines import _cli, fetch
from pipelines import ingest as ingest_stage
from tests.data import archive_server
from tests.imports import ROOT
from tests.pipelines.raw_sources import make_challenge, make_ham10000, make_isic, make_ph2
from tests.pipelines.workspace import inside, write_params


@pytest.fixture
def folder(tmp_path):
    """The current folder is empty."""
    (tmp_path / "repository").mkdir()
    with inside(tmp_path / "repository"):
        yield tmp_path / "repository"


@pytest.fixture
def repository(folder):
    """The current folder is an empty git and DVC repository."""
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
    return folder


STAGING = Path("data/raw/.isic.fetch")


@pytest.fixture
def archive(folder):
    """Twelve images; params.yaml of the current folder names this archive."""
    with archive_server.serve([archive_server.Image(number) for number in range(1, 13)]) as archive:
        settings = archive_server.settings_for(archive, page_size=5, num_connections=2)
        write_params(folder / "params.yaml", {"fetch": settings.model_dump()})
        yield archive


def run(*arguments: str) -> int:
    return _cli.run(fetch.main, arguments)


def test_ph2_is_written_and_put_under_dvc(repository, tmp_path, capsys):
    assert run("ph2", "--source", str(make_ph2(tmp_path / "source"))) == 0
    assert "3 images, 0 masks written in data/raw/ph2" in capsys.readouterr().out
    assert (repository / "data/raw/ph2.dvc").is_file()
    assert len(pd.read_csv("data/raw/ph2/metadata.csv")) == 3


def test_ham10000_is_written_from_two_folders(folder, tmp_path, capsys):
    source = make_ham10000(tmp_path / "source")
    table = ("ham10000", "--metadata", f"{source}/HAM10000_metadata.csv", "--no-dvc", "--images")
    assert run(*table, f"{source}/part_1") == 1
    assert "1 rows have no image file: ISIC_1" in capsys.readouterr().err
    assert not Path("data/raw").exists()
    assert run(*table, f"{source}/part_1", f"{source}/part_2") == 0
    assert "3 images, 0 masks written in data/raw/ham10000" in capsys.readouterr().out
    assert len(list(Path("data/raw/ham10000/images").iterdir())) == 3
    assert run(*table, f"{source}/part_1", "--images", f"{source}/part_2") == 0  # the option twice
    assert "unchanged" in capsys.readouterr().out
    assert run(*table, "data/raw/ham10000/images") == 1
    assert "overlap" in capsys.readouterr().err


def test_labelled_images_of_the_clinic_are_added_to_a_dataset_of_their_own(repository, tmp_path, capsys):
    source = make_isic(tmp_path / "source")
    add = ("clinic", "--metadata", f"{source}/metadata.csv", "--images", f"{source}/images", "--add")
    assert run(*add) == 0
    assert "2 images, 0 masks written in data/raw/clinic" in capsys.readouterr().out
    assert (repository / "data/raw/clinic.dvc").is_file()
    assert not Path("data/raw/isic").exists()
    more = make_isic(tmp_path / "more")
    for name in ("1", "2"):
        (more / "images" / f"ISIC_{name}.jpg").rename(more / "images" / f"later_{name}.jpg")
    table = (more / "metadata.csv").read_text().replace("ISIC", "later")
    (more / "metadata.csv").write_text(table)
    again = ("clinic", "--metadata", f"{more}/metadata.csv", "--images", f"{more}/images", "--add")
    assert run(*again) == 0
    assert "4 images, 0 masks written in data/raw/clinic" in capsys.readouterr().out


def test_images_are_added_only_to_what_dvc_tracks(repository, tmp_path, capsys):
    """As in a clone before `dvc pull`: the images of the others would leave the dataset."""
    source, more = make_isic(tmp_path / "source"), make_isic(tmp_path / "more")
    for name in ("1", "2"):
        (more / "images" / f"ISIC_{name}.jpg").rename(more / "images" / f"later_{name}.jpg")
    (more / "metadata.csv").write_text((more / "metadata.csv").read_text().replace("ISIC", "later"))
    first, second = (
        ("isic", "--metadata", f"{folder}/metadata.csv", "--images", f"{folder}/images")
        for folder in (source, more)
    )
    assert run(*first) == 0
    pointer = Path("data/raw/isic.dvc").read_text()
    shutil.rmtree("data/raw/isic")
    assert run(*second, "--add") == 1
    message = capsys.readouterr().err
    assert "data/raw/isic is missing, but data/raw/isic.dvc names it. Run `dvc pull" in message
    assert Path("data/raw/isic.dvc").read_text() == pointer
    assert not Path("data/raw/isic").exists()
    subprocess.run([sys.executable, "-m", "dvc", "checkout", "-q", "data/raw/isic.dvc"], check=True)
    Path("data/raw/isic/images/ISIC_1.jpg").unlink()
    assert run(*second, "--add") == 1
    message = capsys.readouterr().err
    assert "data/raw/isic differs from what data/raw/isic.dvc names. Run `dvc add data/raw/isic`" in message
    subprocess.run(
        [sys.executable, "-m", "dvc", "checkout", "-q", "--force", "data/raw/isic.dvc"], check=True
    )
    assert run(*second, "--add") == 0
    assert "4 images, 0 masks written in data/raw/isic" in capsys.readouterr().out


def test_a_challenge_is_written_and_its_labels_are_counted_by_ingest(folder, tmp_path, capsys):
    source = make_challenge(tmp_path / "source")
    tables = ("--ground-truth", f"{source}/truth.csv", "--metadata", f"{source}/metadata.csv")
    assert run("isic_challenge", *tables, "--images", f"{source}/images", "--no-dvc") == 0
    assert "2 images, 0 masks written in data/raw/isic_challenge" in capsys.readouterr().out
    paths = ("--raw", "data/raw/isic_challenge", "--out", "a.parquet", "--params", str(ROOT / "params.yaml"))
    assert ingest_stage.main(["--dataset", "isic_challenge", *paths]) == 0
    assert "2 images: 1 positive, 1 negative, 0 without a clear label" in capsys.readouterr().out


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


def test_a_zip_is_read_like_its_folder(folder, tmp_path):
    source = make_ph2(tmp_path / "PH2")
    with zipfile.ZipFile(tmp_path / "ph2.zip", "w") as archive:
        for file in sorted(source.rglob("*")):
            archive.write(file, file.relative_to(tmp_path))
    assert run("ph2", "--source", str(tmp_path / "ph2.zip"), "--no-dvc") == 0
    assert len(list(Path("data/raw/ph2/images").iterdir())) == 3


def test_a_row_without_an_image_is_refused_and_nothing_is_written(folder, tmp_path, capsys):
    source = make_ph2(tmp_path / "source")
    (source / "images/IMD002.png").unlink()
    assert run("ph2", "--source", str(source)) == 1
    assert "1 rows have no image file: IMD002" in capsys.readouterr().err
    assert not Path("data/raw").exists()
    assert run("ph2", "--source", str(source), "--partial", "--no-dvc") == 0
    assert len(pd.read_csv("data/raw/ph2/metadata.csv")) == 2


def test_an_image_without_a_row_is_refused(folder, tmp_path, capsys):
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


def test_in_a_project_without_git_the_message_names_the_setting_of_dvc(repository, tmp_path, capsys):
    shutil.rmtree(".git")
    source = make_ph2(tmp_path / "source")
    assert run("ph2", "--source", str(source)) == 1
    assert "run `dvc config core.no_scm true` once" in capsys.readouterr().err
    subprocess.run([sys.executable, "-m", "dvc", "config", "core.no_scm", "true"], check=True)
    assert run("ph2", "--source", str(source)) == 0
    assert Path("data/raw/ph2.dvc").is_file()


def test_a_folder_that_holds_other_things_is_never_replaced(folder, tmp_path, capsys):
    source = make_ph2(tmp_path / "source")
    Path("notes").mkdir()
    Path("notes/thesis.txt").write_text("years of work")
    assert run("ph2", "--source", str(source), "--out", "notes", "--no-dvc") == 1
    assert "entries that are not part of a raw folder: thesis.txt" in capsys.readouterr().err
    assert Path("notes/thesis.txt").read_text() == "years of work"


def test_an_output_below_a_file_is_told_without_a_trace(folder, tmp_path, capsys):
    Path("notes.txt").write_text("years of work")
    arguments = ("ph2", "--source", str(make_ph2(tmp_path / "source")), "--no-dvc", "--out")
    assert run(*arguments, "notes.txt/ph2") == 1
    message = capsys.readouterr().err
    reason = r"(Not a directory|File exists)\. Check the path"
    assert re.search(rf"^error: \S*notes\.txt\S*: {reason}", message, re.MULTILINE)
    assert "Traceback" not in message
    assert Path("notes.txt").read_text() == "years of work"
    assert run(*arguments, "notes/ph2") == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "No space left on device. Free some space on that disk",
        ),
        (  # of a copy, the file that is written is on the full disk
            OSError(errno.ENOSPC, "No space left on device", "from.jpg", None, "to.jpg"),
            "to.jpg: No space left on device. Free some space on that disk",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "data"), "data: Permission denied. Get the"),
        (OSError("the tape is torn"), "the tape is torn. Check the path"),
    ],
)
def test_what_the_system_refuses_is_told_with_what_to_do(capsys, error, message):
    def refused(argv):
        raise error

    assert _cli.run(refused) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_reader_that_has_left_is_no_error_to_tell(folder):
    script = "from pipelines import _cli; raise SystemExit(_cli.run(lambda argv: _cli.say('x', 'y')))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_source_inside_the_raw_folder_is_refused_and_kept(folder, capsys):
    source = make_ph2(Path("data/raw/ph2"))
    assert run("ph2", "--source", str(source), "--no-dvc") == 1
    assert "overlap; move the source" in capsys.readouterr().err
    assert (source / "PH2_dataset.txt").is_file()


def test_columns_of_the_source_that_have_our_names_do_not_count(folder, tmp_path):
    source = make_isic(tmp_path / "source")
    text = "isic_id,image_id,mask_file,benign_malignant\nISIC_1,x,y,benign\nISIC_2,x,y,malignant\n"
    (source / "metadata.csv").write_text(text)
    arguments = ("--metadata", f"{source}/metadata.csv", "--images", f"{source}/images", "--no-dvc")
    assert run("isic", *arguments) == 0
    assert pd.read_csv("data/raw/isic/metadata.csv")["image_id"].tolist() == ["ISIC_1", "ISIC_2"]


def test_a_folder_in_the_place_of_the_metadata_is_refused(folder, tmp_path, capsys):
    source = make_isic(tmp_path / "source")
    assert run("isic", "--metadata", str(source), "--images", f"{source}/images") == 1
    assert "cannot be read as CSV" in capsys.readouterr().err


def test_a_link_to_another_disk_stays_a_link(folder, tmp_path):
    (tmp_path / "disk").mkdir()
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/ph2").symlink_to(tmp_path / "disk")
    assert run("ph2", "--source", str(make_ph2(tmp_path / "source")), "--no-dvc") == 0
    assert Path("data/raw/ph2").is_symlink()
    assert len(pd.read_csv(tmp_path / "disk/metadata.csv")) == 3


# ---- what people give ------------------------------------------------------------------------

HEADER = "isic_id,copyright_license,attribution,benign_malignant,age_approx,sex,image_type"


def fetch_isic(source: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> int:
    """Fetch a table of `ISIC_1` and `ISIC_2`, to which these rows belong."""
    names = [f"ISIC_{number}" for number in range(1, len(rows) + 1)]
    text = "\n".join([header, *(f"{name},CC-0,{row}" for name, row in zip(names, rows, strict=True))])
    make_isic(source)
    (source / "metadata.csv").write_bytes(text.encode(encoding))
    masks = ["--masks", f"{source}/masks"] if (source / "masks").is_dir() else []
    return run(
        *("isic", "--metadata", f"{source}/metadata.csv", "--images", f"{source}/images", *masks, "--no-dvc")
    )


def ingest() -> pd.DataFrame:
    """The records of what was fetched."""
    write_params(Path("params.yaml"), {})
    arguments = ["--dataset", "isic", "--raw", "data/raw/isic", "--out", "records.parquet"]
    assert ingest_stage.main(arguments) == 0
    return pd.read_parquet("records.parquet")


def test_an_unknown_age_and_sex_are_blank_in_the_records(folder, tmp_path):
    rows = ("A,benign,unknown,Unknown,dermoscopic", "A,malignant,55,female,dermoscopic")
    assert fetch_isic(tmp_path / "source", *rows) == 0
    assert ingest()[["age_years", "sex"]].isna().to_numpy().tolist() == [[True, True], [False, False]]


def test_a_table_in_windows_1252_keeps_its_letters_and_is_written_in_utf8(folder, tmp_path, capsys):
    rows = ("Clínica,benign,55,male,dermoscopic", "Clínica,malignant,55,male,dermoscopic")
    assert fetch_isic(tmp_path / "source", *rows, encoding="cp1252") == 0
    assert "(read as Windows-1252, because it is not UTF-8)" in capsys.readouterr().out
    assert "Clínica" in Path("data/raw/isic/metadata.csv").read_text(encoding="utf-8")
    assert set(ingest()["attribution"]) == {"Clínica"}


def test_image_types_are_counted_and_kept_for_the_checks(folder, tmp_path, capsys):
    rows = ("A,benign,55,male,clinical: close-up", "A,malignant,55,male,")
    assert fetch_isic(tmp_path / "source", *rows) == 0
    line = capsys.readouterr().out
    assert "1 not dermoscopic, which `validate` will quarantine; image type not stated for 1" in line
    assert ingest()["image_type"].fillna("blank").tolist() == ["clinical: close-up", "blank"]


@pytest.mark.parametrize(("age", "sex"), [("old", "male"), ("400", "male"), ("55", "robot")])
def test_a_cell_that_cannot_be_read_is_named_and_nothing_is_written(folder, tmp_path, capsys, age, sex):
    rows = ("A,benign,55,male,dermoscopic", f"A,malignant,{age},{sex},dermoscopic")
    assert fetch_isic(tmp_path / "source", *rows) == 1
    cell = f"sex '{sex}'" if sex == "robot" else f"age_approx '{age}'"
    message = capsys.readouterr().err
    assert f"1 cells cannot be read: {cell} (row 3, ISIC_2). Expected" in message
    assert "or leave them blank" in message
    assert not Path("data").exists()


def test_masks_that_are_called_as_their_images_are_used_and_others_named(folder, tmp_path, capsys):
    (tmp_path / "source" / "masks").mkdir(parents=True)
    for name in ("ISIC_1.png", "ISIC_2_Segmentation.png", "ISIC_9.png", "ISIC_2_superpixels.png"):
        Image.new("1", (160, 160)).save(tmp_path / "source" / "masks" / name)
    rows = ("A,benign,55,male,dermoscopic", "A,malignant,55,male,dermoscopic")
    assert fetch_isic(tmp_path / "source", *rows) == 0
    assert capsys.readouterr().out == (
        "[fetch isic] 2 images, 2 masks written in data/raw/isic "
        "(unused: 2 masks (ISIC_2_superpixels.png, ISIC_9.png))\n"
    )


def test_masks_that_come_with_add_for_images_that_are_there_are_named(folder, tmp_path, capsys):
    rows = ("A,benign,55,male,dermoscopic", "A,malignant,55,male,dermoscopic")
    assert fetch_isic(tmp_path / "source", *rows) == 0
    source = tmp_path / "source"
    (source / "masks").mkdir()
    Image.new("1", (160, 160)).save(source / "masks" / "ISIC_2_mask.png")
    capsys.readouterr()
    arguments = ("isic", "--metadata", f"{source}/metadata.csv", "--images", f"{source}/images", "--no-dvc")
    assert run(*arguments, "--masks", f"{source}/masks", "--add") == 0
    assert "unused: new rows or masks of 1 existing images (ISIC_2)" in capsys.readouterr().out
    assert run(*arguments, "--add") == 0
    assert "unused" not in capsys.readouterr().out


# ---- permissions -----------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
@pytest.mark.parametrize("dataset", ["isic", "ph2", "ph2 in a zip", "isic from the archive"])
def test_the_raw_folder_follows_the_umask(archive, tmp_path, dataset, umask):
    isic, ph2 = make_isic(tmp_path / "isic"), make_ph2(tmp_path / "ph2")
    for path in (*isic.rglob("*"), *ph2.rglob("*")):
        path.chmod(0o777)
    shutil.make_archive(str(tmp_path / "ph2"), "zip", ph2)
    options = {
        "isic": ["isic", "--metadata", f"{isic}/metadata.csv", "--images", f"{isic}/images"],
        "ph2": ["ph2", "--source", str(ph2)],
        "ph2 in a zip": ["ph2", "--source", f"{ph2}.zip"],
        "isic from the archive": ["isic", "--collections", "65"],
    }
    command = [sys.executable, "-m", "pipelines.fetch", *options[dataset], "--no-dvc", "--out", "raw/out"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, umask=umask)
    paths = [Path("raw"), *Path("raw").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o666 & ~umask}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o777 & ~umask}


# ---- from the archive ------------------------------------------------------------------------


def test_a_download_is_written_and_put_under_dvc(repository, archive, capsys):
    assert run("isic", "--collections", "65,66", "--licences", "CC-0", "--query", "sex:female") == 0
    assert capsys.readouterr().out == (
        "[fetch isic] 12 images, 0 masks written in data/raw/isic "
        "(12 found, left out: none; 12 newly downloaded)\n"
    )
    assert [query["collections"] for query in archive.queries] == ["65", "65", "65", "66"]
    assert {query["query"] for query in archive.queries} == {"sex:female"}
    assert (repository / "data/raw/isic.dvc").is_file()
    assert not STAGING.exists()


def test_the_same_download_twice_changes_nothing_and_asks_for_no_picture(archive, capsys):
    arguments = ("isic", "--collections", "65", "--limit", "3", "--no-dvc")
    assert run(*arguments) == 0
    archive.requests.clear()
    capsys.readouterr()
    assert run(*arguments) == 0
    assert "3 images, 0 masks unchanged in data/raw/isic" in capsys.readouterr().out
    assert archive.file_requests() == {}


def test_a_missing_picture_ends_with_1_and_is_written_around_only_with_partial(repository, archive, capsys):
    archive.faults["/files/ISIC_0000007"] = [archive_server.status(404)] * 2
    assert run("isic", "--collections", "65") == 1
    message = capsys.readouterr().err
    assert "1 of 12 images are missing: ISIC_0000007 (HTTP 404 Not Found)" in message
    assert "run the same command again to resume, or add --partial" in message
    assert not Path("data/raw/isic").exists()
    assert run("isic", "--collections", "65", "--partial") == 1
    captured = capsys.readouterr()
    assert "11 images, 0 masks written in data/raw/isic" in captured.out
    assert "data/raw/isic was written without them" in captured.err
    assert Path("data/raw/isic.dvc").is_file()
    assert sorted(path.name for path in STAGING.iterdir()) == ["failures.csv"]


def test_pictures_are_added_to_those_of_a_folder(archive, tmp_path, capsys):
    source = make_isic(tmp_path / "source")
    assert (
        run("isic", "--metadata", f"{source}/metadata.csv", "--images", f"{source}/images", "--no-dvc") == 0
    )
    assert run("isic", "--collections", "65", "--limit", "2", "--add", "--no-dvc") == 0
    assert "4 images, 0 masks written in data/raw/isic (2 added to 2 existing images; " in (
        capsys.readouterr().out
    )
    table = pd.read_csv("data/raw/isic/metadata.csv")
    assert table["image_id"].tolist() == ["ISIC_1", "ISIC_2", "ISIC_0000001", "ISIC_0000002"]


def test_an_archive_that_is_down_is_told(archive, capsys):
    archive.faults[archive_server.SEARCH] = [archive_server.hang_up] * 3
    assert run("isic", "--collections", "65") == 1
    assert "collections=65&limit=5: the connection was lost (tried 3 times). Check the network" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--collections 65 --metadata m.csv",
            "--metadata (local folders) cannot be combined with --collections (download)",
        ),
        (
            "--masks m --images i --limit 3 --licences CC-0",
            "--images, --masks (local folders) cannot be combined with --limit, --licences",
        ),
        ("--metadata m.csv", "--metadata and --images belong together"),
        ("--images i", "--metadata and --images belong together"),
        ("", "Nothing to fetch"),
        ("--limit 5 --licences CC-0", "Nothing to fetch"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder, capsys, arguments, message):
    assert run("isic", *arguments.split()) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--collections 65,MSK-1", "expected comma-separated whole numbers from 1, got 'MSK-1'"),
        ("--collections 65 --limit 0", "expected comma-separated whole numbers from 1, got '0'"),
        ("--collections 65 --licences CC-0,MIT", "expected licences from CC-0, CC-BY, CC-BY-NC; got 'MIT'"),
    ],
)
def test_values_that_the_archive_does_not_know_are_refused(folder, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        run("isic", *arguments.split())
    assert message in capsys.readouterr().err


# ---- a process that is ended -----------------------------------------------------------------


def start_fetch() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.fetch", "isic", "--collections", "65", "--no-dvc"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        # A shell may have started the tests with interrupts ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def hold_back(archive, *, after: int) -> threading.Event:
    """So many pictures are sent; the next ones wait for the event."""
    go_on = threading.Event()

    def gate(path: str) -> None:
        if sum(archive.file_requests().values()) > after:
            go_on.wait()

    archive.gate = gate
    return go_on


def wait_for_lines(path: Path, num_lines: int) -> None:
    deadline = time.monotonic() + 60
    while not path.is_file() or len(path.read_bytes().splitlines()) < num_lines:
        assert time.monotonic() < deadline, f"{path} did not get {num_lines} lines"
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_fetch_that_is_ended_goes_on_where_it_stopped(archive, number, code):
    go_on = hold_back(archive, after=4)
    process = start_fetch()
    wait_for_lines(STAGING / "SHA256SUMS", 4)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == code
    assert (b"run the same command again to resume" in message) == (number == signal.SIGINT)
    assert b"Traceback" not in message
    assert not Path("data/raw/isic").exists()
    pictures = [path for path in (STAGING / "images").iterdir() if not path.name.startswith(".")]
    assert len(pictures) == 4
    assert all(decode(path.read_bytes()).shape == (64, 64, 3) for path in pictures)

    archive.gate = lambda path: None
    go_on.set()
    before = {path.stem for path in pictures}
    archive.requests.clear()
    assert run("isic", "--collections", "65", "--no-dvc") == 0
    assert set(archive.file_requests()) == {image.isic_id for image in archive.images} - before
    assert {path.stem: path.read_bytes() for path in Path("data/raw/isic/images").iterdir()} == {
        image.isic_id: image.content for image in archive.images
    }
    assert not STAGING.exists()
