"""Small repositories with a dataset each, pushed to a real store (SeaweedFS) and pulled into clones."""

import hashlib
import shutil
import subprocess
import sys
from configparser import ConfigParser

import pytest
from ruamel.yaml import YAML

from pipelines import _cli
from pipelines import storage as script
from tests.end_to_end.clone import free_port
from tests.imports import ROOT
from tests.s3 import KEYS

pytestmark = pytest.mark.slow
DATASET = "data/raw/toy"


def command(folder, *words):
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(folder, *words):
    return command(folder, sys.executable, "-m", "dvc", *words)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A repository with the committed settings of DVC, three images under DVC and one made by a stage."""
    folder = tmp_path_factory.mktemp("template")
    command(folder, "git", "init", "-q", "-b", "main")
    shutil.copytree(
        ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local")
    )
    images = folder / DATASET / "images"
    images.mkdir(parents=True)
    for name in "abc":
        (images / f"{name}.jpg").write_text(f"image {name}\n")
    (folder / "dvc.yaml").write_text(
        "stages:\n"
        "  sides: {cmd: cp sides-of-today.csv sides.csv, outs: [sides.csv: {persist: true}]}\n"
        "  later: {cmd: touch later.csv, outs: [later.csv]}\n"
    )
    (folder / "sides-of-today.csv").write_text("a,train\n")
    dvc(folder, "add", "-q", DATASET)
    dvc(folder, "repro", "-q", "sides")
    commit(folder)
    return folder


def commit(folder):
    command(folder, "git", "add", "-A")
    command(
        folder, "git", "-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "-qm", "version"
    )


def point_to(folder, bucket):
    """As `dvc remote modify --local storage url` would."""
    config = folder / ".dvc/config.local"
    config.write_text(f"['remote \"storage\"']\n    url = s3://{bucket}/dvc\n")
    return folder


def clone(folder, target, bucket):
    """A clone with an empty cache whose remote is in `bucket`."""
    command(folder.parent, "git", "clone", "-q", str(folder), str(target))
    return point_to(target, bucket)


@pytest.fixture
def origin(template, tmp_path, new_bucket, s3):
    """A copy of the repository that holds the data, too."""
    return point_to(shutil.copytree(template, tmp_path / "origin"), new_bucket)


@pytest.fixture
def run(capfd, monkeypatch):
    """Run the script in a folder; what it printed, DVC's words included."""

    def run_in(folder, direction, exit_code=0):
        monkeypatch.chdir(folder)
        capfd.readouterr()
        assert _cli.run(script.main, [direction]) == exit_code
        printed = capfd.readouterr()
        assert "Traceback" not in printed.err
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in printed.out + printed.err
        return printed.err if exit_code else printed.out.strip().splitlines()[-1]

    return run_in


def key(cached):
    """Where an object of the cache lies in the bucket."""
    return f"dvc/files/md5/{cached.parent.name}/{cached.name}"


def cached(folder, name):
    """The object in the cache that holds a file of the dataset, or its list of files."""
    md5 = YAML(typ="safe", pure=True).load(folder / f"{DATASET}.dvc")["outs"][0]["md5"]
    if name != "list":
        md5 = hashlib.md5((folder / DATASET / name).read_bytes(), usedforsecurity=False).hexdigest()
    return folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


@pytest.fixture
def bucket(origin, s3, new_bucket):
    """A bucket that holds the version, as after a push."""
    s3.client.create_bucket(Bucket=new_bucket)
    for path in (origin / ".dvc/cache/files/md5").rglob("*"):
        if path.is_file():
            s3.client.put_object(Bucket=new_bucket, Key=key(path), Body=path.read_bytes())
    return new_bucket


def test_the_committed_remote_checks_what_it_fetches_and_holds_no_secret():
    config = ConfigParser()
    config.read(ROOT / ".dvc/config")
    assert config["core"]["remote"] == "storage"
    # Endpoint and keys come from the environment.
    expected = {"url": "s3://melanoma-data/dvc", "verify": "true"}
    assert dict(config["'remote \"storage\"'"]) == expected


def test_what_is_pushed_comes_back_in_a_fresh_clone(origin, tmp_path, new_bucket, s3, run):
    said = run(origin, "push")
    assert f"[storage push] 5 objects, 248 bytes are complete in s3://{new_bucket}/dvc at {s3.url}" in said
    assert "; not included: 1 outputs of stages that have not run" in said
    assert s3.client.get_bucket_versioning(Bucket=new_bucket)["Status"] == "Enabled"
    copy = clone(origin, tmp_path / "copy", new_bucket)
    assert "[storage pull] 5 objects, 248 bytes are here" in run(copy, "pull")
    for path in (f"{DATASET}/images/a.jpg", f"{DATASET}/images/c.jpg", "sides.csv"):
        assert (copy / path).read_bytes() == (origin / path).read_bytes()


def test_pull_names_damaged_and_missing_images_and_push_mends_them_although_dvc_trusts_the_folder(
    origin, tmp_path, bucket, s3, run
):
    damaged = key(cached(origin, "images/b.jpg"))
    s3.client.put_object(Bucket=bucket, Key=damaged, Body=b"imags b\n")
    s3.client.delete_object(Bucket=bucket, Key=key(cached(origin, "images/c.jpg")))
    both = f"{DATASET}/images/b.jpg (damaged), {DATASET}/images/c.jpg (missing)"
    copy = clone(origin, tmp_path / "copy", bucket)
    assert f"and in the local DVC cache: {both}. Run `make data-push`" in run(copy, "pull", exit_code=1)
    assert not (copy / DATASET).exists()

    assert f"2 of them were repaired: {both}" in run(origin, "push")
    assert s3.client.get_object(Bucket=bucket, Key=damaged)["Body"].read() == b"image b\n"
    run(copy, "pull")
    assert (copy / DATASET / "images/b.jpg").read_text() == "image b\n"


@pytest.mark.parametrize(("content", "is_mended"), [(b"image b\n", False), (b"imags b\n", True)])
def test_an_object_whose_etag_proves_nothing_is_read_back(origin, bucket, s3, run, *, content, is_mended):
    at = {"Bucket": bucket, "Key": key(cached(origin, "images/b.jpg"))}
    upload = s3.client.create_multipart_upload(**at)["UploadId"]
    part = s3.client.upload_part(**at, UploadId=upload, PartNumber=1, Body=content)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload=parts)
    assert "-" in s3.client.head_object(**at)["ETag"]  # it is no MD5 of the bytes
    assert (f"{DATASET}/images/b.jpg (damaged)" in run(origin, "push")) == is_mended
    assert s3.client.get_object(**at)["Body"].read() == b"image b\n"


def test_a_damaged_list_of_a_folder_stops_pull_and_later_does_no_harm(origin, tmp_path, bucket, s3, run):
    whole = cached(origin, "list")
    s3.client.put_object(Bucket=bucket, Key=key(whole), Body=b"[]")
    copy = clone(origin, tmp_path / "copy", bucket)
    assert f"{DATASET} (damaged)" in run(copy, "pull", exit_code=1)
    assert not (copy / DATASET).exists()
    dvc(copy, "pull", DATASET)  # takes the damaged list for an empty folder, and remembers it
    assert list((copy / DATASET).iterdir()) == []

    s3.client.put_object(Bucket=bucket, Key=key(whole), Body=whole.read_bytes())
    run(copy, "pull")
    assert sorted(path.name for path in (copy / DATASET / "images").iterdir()) == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_data_that_are_nowhere_are_named(direction, origin, new_bucket, s3, run):
    s3.client.create_bucket(Bucket=new_bucket)
    shutil.rmtree(origin / ".dvc/cache")
    error = run(origin, direction, exit_code=1)
    assert f"{DATASET} (missing)" in error
    assert "data/raw/<dataset> with `python -m pipelines.fetch`" in error


def test_a_damaged_cache_is_not_taken_for_the_data(origin, bucket, s3, run):
    image = cached(origin, "images/b.jpg")
    image.chmod(0o644)
    image.write_text("imags b\n")
    s3.client.delete_object(Bucket=bucket, Key=key(image))
    assert f"{DATASET}/images/b.jpg (missing)" in run(origin, "push", exit_code=1)


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_a_store_that_is_down_is_named_before_dvc_tries_it(direction, origin, run, monkeypatch):
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    error = run(origin, direction, exit_code=1)
    assert error.startswith("error: s3://")
    assert f"{url} does not answer" in error


def test_pull_makes_no_bucket(origin, new_bucket, s3, run):
    assert "there is no such bucket" in run(origin, "pull", exit_code=1)
    assert new_bucket not in {bucket["Name"] for bucket in s3.client.list_buckets()["Buckets"]}


def test_a_change_that_pull_would_overwrite_stays_and_dvc_says_so(origin, bucket, run):
    (origin / "sides.csv").unlink()
    (origin / "sides.csv").write_text("mine\n")
    error = run(origin, "pull", exit_code=1)
    assert "sides.csv" in error
    assert "`dvc pull` failed, see its output above" in error
    assert (origin / "sides.csv").read_text() == "mine\n"


def test_a_version_without_data_is_refused(tmp_path, s3, run):
    command(tmp_path, "git", "init", "-q")
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    assert "This version has no recorded data" in run(tmp_path, "push", exit_code=1)


def test_a_repository_without_a_remote_is_refused(origin, run):
    (origin / ".dvc/config.local").unlink()
    (origin / ".dvc/config").write_text("")
    assert "No default remote is set" in run(origin, "push", exit_code=1)


def test_outside_of_a_repository_it_says_so(tmp_path, s3, run):
    assert "DVC cannot read this repository" in run(tmp_path, "push", exit_code=1)
