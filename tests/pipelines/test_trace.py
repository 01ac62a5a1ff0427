"""Versions whose data lie in a small real repository of DVC."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from dvc.repo import Repo

from melanoma import lineage, tracking
from melanoma.fingerprint import CODE_TAG, FILES_TAG, digest_of_code
from melanoma.registry import origin, versions
from pipelines import _cli, trace
from tests.imports import ROOT
from tests.registry.shelf import NAME
from tests.s3 import KEYS

IMAGES = (
    "image_id,split,group_id,target,dataset,licence,attribution,sha256\n"
    "007,train,g1,1,toy,CC-BY,Clinic,aa\n"
    "008,train,g1,0,toy,CC-BY,Clinic,bb\n"
    "009,test,g2,0,zoo,,,cc\n"
)
TOY, ZOO = Path("data/raw/toy"), Path("data/raw/zoo")
URI = f"models:/{NAME}@staging"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Two datasets under DVC, of which the cache holds all."""
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    shutil.copytree(
        ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local")
    )
    for dataset in (TOY, ZOO):
        (folder / dataset).mkdir(parents=True)
        (folder / dataset / "a.jpg").write_text(f"image of {dataset}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with Repo() as repo:
            repo.add([str(TOY), str(ZOO)])
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], cwd=folder, check=True)
    return folder


@pytest.fixture
def version(shelf, repository):
    """Holds `staging`; it was made in a repository with the data, which is the current folder."""
    for name in (".git", ".dvc", "data"):
        shutil.copytree(repository / name, shelf.folder / name)
    version = versions.get_version(NAME, shelf.register())
    versions.set_alias(NAME, versions.STAGING, version.version)
    store, run_id = tracking.client(), version.tags["run_id"]
    store.log_text(run_id, IMAGES, f"data/{origin.IMAGES}")
    store.log_text(run_id, "python==3.11.9\nnumpy==2.0\nzict==3\n", origin.ENVIRONMENT)
    store.log_param(run_id, "depth", 3)
    tags = lineage.lineage_tags() | {"model": "selected", "is_synthetic": "true", "data_digest": "d1"}
    for key, value in tags.items():
        store.set_tag(run_id, key, value)
    return version


@pytest.fixture
def told(capsys):
    """What the script says; the exit code is as expected."""

    def run(*options, uri=URI, exit_code=0):
        capsys.readouterr()
        assert _cli.run(trace.main, [uri, *options]) == exit_code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return printed.out + printed.err

    return run


def checks(out, outcome="NOT OK"):
    """The paths that are ok, and what is said of those with an `outcome`."""
    hashed = re.compile(r"^(  (?:NOT OK|NOT KNOWN|ok) +\S+) [0-9a-f]{32}(?:\.dir)?")
    lines = [hashed.sub(r"\1", line) for line in out.splitlines()]
    good = {line.removeprefix("  ok ").strip() for line in lines if line.startswith("  ok ")}
    start = f"  {outcome} "
    return good, {line.removeprefix(start).strip() for line in lines if line.startswith(start)}


def test_images_licences_code_parameters_and_environment_are_told(version, told):
    out = told()
    assert f"{NAME} version 1, aliases staging; SYNTHETIC images" in out
    assert f"model selected, gate passed, run {version.tags['run_id']}" in out
    assert re.search(r"^ +parameter +value *$", out, flags=re.MULTILINE)
    assert re.search(r"^ +depth +3 *$", out, flags=re.MULTILINE)
    assert "environment: python==3.11.9, numpy==2.0; 3 packages in" in out
    assert "images: 3, digest of the packed cohort d1" in out
    assert "  toy train: 2, 1 positive\n  zoo test: 1, 0 positive\n" in out
    assert "  toy: 2 under CC-BY, Clinic\n  zoo: 1 under no recorded licence, no attribution\n" in out
    assert "trial: run of the search None, best trial not recorded" in out


def test_ids_of_images_are_told_only_when_asked_for(version, told):
    assert "  007 " not in told()
    assert "  007 train CC-BY\n  008 train CC-BY\n  009 test no recorded licence\n" in told("--ids")


def test_the_table_of_images_keeps_ids_as_they_are(version, told, tmp_path):
    told("--out", str(tmp_path / "images.csv"))
    written = pd.read_csv(tmp_path / "images.csv", dtype="string")
    assert written["image_id"].tolist() == ["007", "008", "009"]
    assert written["licence"].isna().tolist() == [False, False, True]


def test_data_that_are_as_they_were_are_ok_although_the_folders_are_away(version, told):
    shutil.rmtree(TOY)  # the cache has them
    out = told()
    assert checks(out) == ({"data/raw/toy", "data/raw/zoo"}, set())
    assert "[trace] 2 of 2 checks ok" in out


def test_data_that_have_changed_since_are_named_with_both_hashes(version, told):
    then = lineage.data_hashes()["data/raw/toy"]
    (TOY / "a.jpg").unlink()
    (TOY / "b.jpg").write_text("another image")
    with Repo() as repo:
        repo.add([str(TOY)])
    now = lineage.data_hashes()["data/raw/toy"]
    assert then != now
    out = told(exit_code=1)
    assert checks(out) == ({"data/raw/zoo"}, {f"data/raw/toy: differs: {then} at training, {now} now"})
    assert "[trace] 1 of 2 checks ok" in out


def test_data_of_which_no_record_is_left_are_named(version, told):
    TOY.with_suffix(".dvc").unlink()
    assert checks(told(exit_code=1)) == ({"data/raw/zoo"}, {"data/raw/toy: missing in dvc.lock and data/raw"})


def cached(oid):
    return Path(".dvc/cache/files/md5") / oid[:2] / oid[2:]


@pytest.fixture(params=["list", "image"])
def lost(version, request):
    """An object of the first dataset: the list of its files, or a file."""
    if request.param == "list":
        return cached(lineage.data_hashes()[str(TOY)])
    return cached(hashlib.md5((TOY / "a.jpg").read_bytes(), usedforsecurity=False).hexdigest())


def test_data_that_are_not_whole_in_the_cache_while_the_store_is_down_are_named(
    told, lost, no_s3_settings, monkeypatch
):
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert checks(told())[1] == set()  # it is not asked while the cache has all
    lost.chmod(0o644)
    lost.write_text("[]")
    good, (problem,) = checks(told(exit_code=1), "NOT KNOWN")
    assert good == {"data/raw/zoo"}
    assert problem.startswith(
        "data/raw/toy: incomplete in the DVC cache, and the remote cannot be read: s3://"
    )
    assert "http://127.0.0.1:9 does not answer" in problem


def set_remote(url):
    lines = f"['remote \"storage\"']\n    url = {url}\n"
    Path(".dvc/config.local").write_text(lines)


def damage(lost):
    content = lost.read_bytes()
    lost.chmod(0o644)
    lost.write_text("[]")
    return content


@pytest.mark.parametrize("url", ["ssh://nobody@127.0.0.1:9/x", "gs://bucket/x", "/nowhere"])
def test_what_lies_in_the_cache_needs_no_remote_of_any_kind(version, told, url):
    set_remote(url)
    assert "[trace] 2 of 2 checks ok" in told()


def test_without_a_remote_the_cache_is_enough_and_what_is_not_there_is_not_known(version, told, lost):
    config = Path(".dvc/config")
    config.write_text(config.read_text().replace("remote = storage", ""))
    assert "[trace] 2 of 2 checks ok" in told()
    lost.unlink()
    good, (problem,) = checks(told(exit_code=1), "NOT KNOWN")
    assert good == {"data/raw/zoo"}
    assert "No default remote is set" in problem


def test_a_remote_for_which_dvc_has_no_plugin_cannot_be_asked(version, told, lost):
    set_remote("gs://bucket/x")
    damage(lost)
    _, (problem,) = checks(told(exit_code=1), "NOT KNOWN")
    assert "gs://bucket/x cannot be read" in problem


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_folder_as_remote_is_asked_for_what_the_cache_has_not(version, told, lost, harm, tmp_path):
    set_remote(tmp_path / "remote")
    there = tmp_path / "remote" / "files/md5" / lost.parent.name / lost.name
    there.parent.mkdir(parents=True)
    content = damage(lost)
    if harm == "gone":
        lost.unlink()
    path = "data/raw/toy" if lost.suffix == ".dir" else "data/raw/toy/a.jpg"
    for fault in ("missing", "damaged"):
        (problem,) = checks(told(exit_code=1))[1]
        assert f"{path} ({fault})" in problem
        there.write_text("[]")
    there.write_bytes(content)
    assert checks(told()) == ({"data/raw/toy", "data/raw/zoo"}, set())


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        (
            {"git_commit": "unknown", "git_problem": "fatal: dubious"},
            "the commit is not known: fatal: dubious",
        ),
        ({"git_commit": "unknown"}, "the commit is not known: the run has no reason recorded"),
        ({"git_dirty": "unknown", "git_problem": "fatal: index"}, "state of the working tree is not known"),
    ],
)
def test_code_that_nobody_can_tell_is_not_ok_though_all_data_are(version, told, tags, words):
    for key, value in tags.items():
        tracking.client().set_tag(version.tags["run_id"], key, value)
    out = told(exit_code=1)
    assert "  NOT KNOWN code: the" in out
    assert words in out
    assert "[trace] 2 of 2 checks of data ok; code: the" in out


def test_a_commit_that_git_does_not_have_any_more_is_not_ok(version, told):
    tracking.client().set_tag(version.tags["run_id"], "git_commit", "1" * 40)
    out = told(exit_code=1)
    assert f"  NOT OK    code: git has no commit {'1' * 40} here" in out
    assert "[trace] 2 of 2 checks of data ok; code: git has no commit" in out


def test_git_that_refuses_now_is_not_taken_for_one_that_has_the_commit(version, told, monkeypatch):
    monkeypatch.setenv("PATH", "")
    out = told(exit_code=1)
    assert "  NOT KNOWN code: git cannot look up commit" in out


def test_a_deleted_run_is_restored_and_one_of_another_store_is_not_trained_again_in_vain(version, told):
    store, run_id = tracking.client(), version.tags["run_id"]
    store.delete_run(run_id)
    assert f"mlflow runs restore --run-id {run_id}" in told(exit_code=1)
    store.restore_run(run_id)
    assert "[trace] 2 of 2 checks ok" in told()


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_the_store_is_asked_for_what_the_cache_has_not(told, lost, s3, new_bucket, harm):
    Path(".dvc/config.local").write_text(f"['remote \"storage\"']\n    url = s3://{new_bucket}/dvc\n")
    s3.client.create_bucket(Bucket=new_bucket)
    name, content = f"dvc/files/md5/{lost.parent.name}/{lost.name}", lost.read_bytes()
    lost.chmod(0o644)
    lost.write_text("[]")
    if harm == "gone":
        lost.unlink()
    path = "data/raw/toy" if lost.suffix == ".dir" else "data/raw/toy/a.jpg"
    for fault in ("missing", "damaged"):
        (problem,) = checks(told(exit_code=1))[1]
        assert problem.startswith("data/raw/toy: ")
        assert f"{path} ({fault})" in problem
        s3.client.put_object(Bucket=new_bucket, Key=name, Body=b"[]")
    s3.client.put_object(Bucket=new_bucket, Key=name, Body=content)
    assert checks(told()) == ({"data/raw/toy", "data/raw/zoo"}, set())


def test_a_version_without_hashes_of_its_data_is_not_ok(version, told):
    for path in lineage.data_hashes():
        tracking.client().delete_tag(version.tags["run_id"], f"{lineage.DATA_TAG}{path}")
    assert "[trace] 0 of 0 checks ok" in told(exit_code=1)


def test_outside_of_a_repository_it_says_so(version, told):
    shutil.rmtree(".dvc")
    assert "error: DVC cannot read this repository" in told(exit_code=1)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (f"models:/{NAME}@production", f"No version of {NAME} has the alias production."),
        (f"models:/{NAME}/7", f"{NAME} has no version 7; it has [1]"),
        (NAME, "is not the URI of a model version. Expected models:/<name>@<alias>"),
    ],
)
def test_what_is_no_version_is_refused(version, told, uri, words):
    assert f"error: {words}" in told(uri=uri, exit_code=1).replace(f"'{NAME}' ", "")


def test_a_registry_that_is_down_is_named(shelf, told, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "error: The tracking store http://127.0.0.1:9 does not answer" in told(exit_code=1)


@pytest.mark.slow
def test_a_version_that_the_stages_made_tells_every_image_of_its_cohort(at_workspace, capsys, tmp_path):
    found = origin.trace(origin.find("models:/melanoma-sample@staging"), tmp_path)
    splits = pd.read_csv("data/splits/sample.csv", dtype={"image_id": "string"})
    expected = dict(zip(splits["image_id"], splits["split"], strict=True))
    assert dict(zip(found.images["image_id"], found.images["split"], strict=True)) == expected
    assert any(line.startswith("tensorflow==") for line in found.environment)
    # The workspace is no repository: its data are nowhere recorded.
    assert _cli.run(trace.main, ["models:/melanoma-sample@staging"]) == 1
    printed = capsys.readouterr()
    assert f"images: {len(splits)}" in printed.out
    assert "DVC cannot read this repository" in printed.err


def test_a_version_whose_code_was_changed_in_the_artifact_store_is_not_ok(version, told, shelf):
    module = shelf.model(1) / "code" / "melanoma" / "schema.py"
    before = module.read_text()
    module.write_text("CLASSES = ('benign',)")
    out = told(exit_code=1)
    assert "  NOT OK    files of the model: " in out
    assert "of data ok; files of the model: " in out
    assert "for instance in code/" in out
    module.write_text(before)
    assert "checks ok" in told()


def test_a_version_whose_files_cannot_be_compared_is_not_known_to_be_ok(version, told):
    tracking.client().delete_model_version_tag(NAME, "1", FILES_TAG)
    out = told(exit_code=1)
    assert f"  NOT KNOWN files of the model: the version has no tag {FILES_TAG}" in out


def test_files_that_left_the_artifact_store_are_not_ok(version, told, shelf):
    shutil.rmtree(shelf.model(1))
    assert f"  NOT OK    files of the model: The files of {NAME} version 1 are missing" in told(exit_code=1)


def test_it_is_told_whether_the_code_that_answers_is_the_code_here(version, told):
    store = tracking.client()
    assert "code stored with the model: digest not recorded, different from the code here" in told()
    store.set_model_version_tag(NAME, "1", CODE_TAG, digest_of_code())
    assert f"code stored with the model: digest {digest_of_code()}, identical to the code here" in told()
