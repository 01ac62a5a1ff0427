import subprocess
import sys
from pathlib import Path

import pytest

from melanoma import tracking
from pipelines import _cli, trace
from tests.pipelines.releasable import NAME

IMAGES = (
    "image_id,dataset,split,group_id,target,licence,attribution,sha256\n007,ph2,test,g,1,CC-BY,A. Name,0\n"
)


def dvc(*words):
    subprocess.run([sys.executable, "-m", "dvc", *words], check=True, capture_output=True)


def add_data(text):
    Path("data/raw").mkdir(parents=True, exist_ok=True)
    Path("data/raw/ph2").write_text(text)
    dvc("add", "-q", "data/raw/ph2")


@pytest.fixture
def traceable(registry):
    """Version 1 of a registered model, whose data DVC holds in its cache."""
    dvc("init", "-q", "--no-scm")
    dvc("remote", "add", "-q", "-d", "storage", "s3://nowhere/dvc")
    dvc("remote", "modify", "-q", "storage", "endpointurl", "http://127.0.0.1:1")
    add_data("first")
    tags = {f"dvc.{path}": oid for path, oid in tracking.data_hashes().items()}
    with tracking.open_run(experiment="e", name="n", tags={"is_synthetic": "false", **tags}) as run:
        run.log_text(IMAGES, "data/images.csv")
        run.log_text("python==3.11\n", "environment.txt")
    tracking.client().set_model_version_tag(NAME, "1", "run_id", run.run_id)


def run(*words):
    return _cli.run(trace.main, [f"models:/{NAME}/1", *words])


def test_it_prints_images_licences_and_code_and_finds_the_data_as_they_were(traceable, capsys):
    assert run("--ids", "--out", "images.csv") == 0
    text = capsys.readouterr().out
    assert "ph2 test: 1, 1 malignant" in text
    assert "ph2: 1 under CC-BY, A. Name" in text
    assert "007 test CC-BY" in text
    assert "real images" in text
    assert "1 of 1 checks ok" in text
    assert "007" in Path("images.csv").read_text()


def test_data_that_differ_from_those_of_the_training_are_named(traceable, capsys):
    add_data("second")
    assert run() == 1
    assert "data/raw/ph2: differs" in capsys.readouterr().out


def test_data_that_dvc_no_longer_records_are_named(traceable, capsys):
    add_data("second")
    Path("data/raw/ph2.dvc").rename("data/raw/other.dvc")
    pointer = Path("data/raw/other.dvc")
    pointer.write_text(pointer.read_text().replace("path: ph2", "path: other"))
    assert run() == 1
    assert "data/raw/ph2: gone from dvc.lock and data/raw" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_an_object_that_is_not_whole_in_cache_or_store_is_named(traceable, capsys, damage):
    (path,) = (item for item in Path(".dvc/cache/files/md5").rglob("*") if item.is_file())
    path.chmod(0o644)
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("fi")
    assert run() == 1
    assert "data/raw/ph2: not in DVC's cache" in capsys.readouterr().out
