import os
import shutil
import subprocess
from pathlib import Path

import pytest

from melanoma import lineage


def git(folder, *arguments):
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A project with one commit, which is the current folder; what was warned of before is forgotten."""
    folder = tmp_path / "clone"
    (folder / "data/raw").mkdir(parents=True)
    (folder / ".dvc").mkdir()
    (folder / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  split@a:\n    cmd: x\n    outs:\n"
        "    - {path: data/splits/a.csv, hash: md5, md5: abc, size: 1}\n"
    )
    (folder / "data/raw/ph2.dvc").write_text("outs:\n- {md5: def.dir, path: ph2}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        git(folder, *command)
    monkeypatch.chdir(folder)
    lineage._warned.cache_clear()
    return folder


@pytest.mark.parametrize("folder", [".", "data/raw"])
def test_commit_dirt_and_hashes_are_named_from_any_folder(clone, monkeypatch, capsys, folder):
    monkeypatch.chdir(folder)
    tags = lineage.lineage_tags()
    assert {
        key: tags.pop(key)
        for key in ("mlflow.melanoma.dvc.data/splits/a.csv", "mlflow.melanoma.dvc.data/raw/ph2")
    } == {
        "mlflow.melanoma.dvc.data/splits/a.csv": "abc",
        "mlflow.melanoma.dvc.data/raw/ph2": "def.dir",
    }
    assert len(tags.pop("git_commit")) == 40
    assert tags == {"git_dirty": "False"}
    (clone / "data/raw/ph2.dvc").write_text("outs: []\n")
    assert lineage.lineage_tags()["git_dirty"] == "True"
    assert capsys.readouterr().err == ""


def test_a_lock_that_dvc_wrote_since_does_not_make_the_tree_dirty(clone):
    (clone / "dvc.lock").write_text("schema: '2.0'\n")
    assert lineage.lineage_tags()["git_dirty"] == "False"


def refuse_owner(clone, monkeypatch):
    """As in a container that has somebody else's clone mounted."""
    if os.getuid() != 0:
        pytest.skip("only root may give files away")
    for path in (clone, *clone.rglob("*")):
        os.chown(path, 65534, 65534)


def remove_repository(clone, monkeypatch):
    shutil.rmtree(clone / ".git")


def remove_git(clone, monkeypatch):
    monkeypatch.setenv("PATH", str(clone))


def remove_commit(clone, monkeypatch):
    shutil.rmtree(clone / ".git")
    git(clone, "init", "-q")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (refuse_owner, "dubious ownership"),
        (remove_repository, "not a git repository"),
        (remove_git, "git cannot be run: No such file or directory"),
        (remove_commit, "ambiguous argument"),
    ],
)
def test_git_that_cannot_tell_is_quoted_once_and_means_unknown(clone, monkeypatch, capsys, harm, words):
    harm(clone, monkeypatch)
    for tags in (lineage.lineage_tags(), lineage.lineage_tags()):
        assert tags["git_commit"] == "unknown"
        assert words in tags["git_problem"]
        assert tags["git_dirty"] != "True"
    assert lineage.commit_tags() == {"git_commit": "unknown", "git_problem": tags["git_problem"]}
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert words in warnings[0]


def test_a_state_of_the_tree_that_git_cannot_tell_is_not_clean(clone):
    Path(".git/index").write_bytes(b"damaged")
    tags = lineage.lineage_tags()
    assert len(tags["git_commit"]) == 40
    assert tags["git_dirty"] == "unknown"
    assert "index" in tags["git_problem"]
