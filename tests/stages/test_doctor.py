"""Each check of `make doctor` finds what is wrong, says what to do, and is content where nothing is."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from melanoma.stages import doctor, ports
from melanoma.stages.doctor import FAIL, OK, WARN
from tests.imports import ROOT
from tests.stages.test_needs import listening


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A committed project without runs, which is the current folder."""
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    return tmp_path


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10), FAIL), ((3, 11), OK), ((3, 13), OK), ((3, 14), FAIL)]
)
def test_python(version, level):
    found = doctor.check_python(version)
    assert found.level == level
    assert (level == OK) == (found.cure == "")


def test_packages():
    assert doctor.check_packages(is_installed=True, has_venv=False).level == OK
    assert doctor.check_packages(is_installed=False, has_venv=True).level == WARN
    missing = doctor.check_packages(is_installed=False, has_venv=False)
    assert (missing.level, "python3-venv" in missing.cure) == (FAIL, True)


@pytest.mark.parametrize(("free", "level"), [(0.99, FAIL), (1.0, OK)])
def test_disk(free, level):
    assert doctor.check_disk(free, 1).level == level


@pytest.mark.parametrize(("total", "level"), [(2.4, FAIL), (2.5, WARN), (3.9, WARN), (4, OK)])
def test_memory(total, level):
    assert doctor.check_memory(total).level == level


def test_the_limit_of_a_container_counts_if_it_is_lower(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(doctor, "CGROUP_LIMIT", limit)
    machine = doctor.memory_gb()
    limit.write_text("max\n")
    assert doctor.memory_gb() == machine
    limit.write_text("100000000\n")
    assert doctor.memory_gb() == 0.1


def test_cores():
    assert [doctor.check_cores(num).level for num in (1, 2)] == [WARN, OK]


def test_git(project, monkeypatch):
    assert doctor.check_git(project).level == OK
    shutil.rmtree(project / ".git")
    outside = doctor.check_git(project)
    assert (outside.level, "not a git repository" in outside.found) == (FAIL, True)
    (project / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    assert doctor.check_git(project).level == WARN
    monkeypatch.setenv("PATH", str(project))
    assert doctor.check_git(project).found == "not installed"


def test_chromium(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_chromium().level == WARN
    (tmp_path / "chromium").touch(mode=0o755)
    assert doctor.check_chromium().level == OK


def test_port():
    with listening() as port:
        found = doctor.check_port(port, "make ui UI_PORT=")
        assert (found.level, found.cure) == (
            WARN,
            f"Choose another: `make ui UI_PORT={ports.next_free(port)}`",
        )
    assert doctor.check_port(port, "make ui UI_PORT=").level == OK


def test_store(shelf, monkeypatch, tmp_path):
    shelf.move(shelf.register())
    assert doctor.check_store().level == OK
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    assert doctor.check_store().found.startswith("none yet")
    there = tmp_path / "there"
    shutil.move(shelf.folder, there)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{there}/mlflow.db")
    moved = doctor.check_store()
    assert (moved.level, "pipelines.relocate" in moved.found) == (FAIL, True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    down = doctor.check_store()
    assert (down.level, "does not answer" in down.found) == (FAIL, True)


def test_params(project):
    assert doctor.check_params(project).level == OK
    path = project / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("num_trials: 5", "num_trials: 6"))
    changed = doctor.check_params(project)
    assert (changed.level, "git checkout params.yaml" in changed.cure) == (WARN, True)
    path.write_text(text.replace("num_trials: 5", "num_trials: none"))
    wrong = doctor.check_params(project)
    assert (wrong.level, "tune.num_trials" in wrong.found) == (FAIL, True)


def test_params_can_be_checked_without_git(project, monkeypatch):
    shutil.rmtree(project / ".git")
    assert doctor.check_params(project) == (OK, "parameters", "valid", "")
    monkeypatch.setenv("PATH", str(project))
    assert doctor.check_params(project) == (OK, "parameters", "valid", "")


def test_remote(project):
    found = doctor.check_remote(project)
    assert (found.level, "AWS_ACCESS_KEY_ID" in found.found) == (WARN, True)
    elsewhere = "[core]\n    remote = disk\n['remote \"disk\"']\n    url = /data\n"
    (project / ".dvc" / "config").write_text(elsewhere)
    assert doctor.check_remote(project) == (OK, "remote", "/data", "")


def test_cache(project):
    assert doctor.check_cache(project).level == OK
    (project / ".dvc" / "cache").mkdir()
    git(project, "worktree", "add", "-q", "beside")
    empty = doctor.check_cache(project / "beside")
    assert empty.level == WARN
    assert "an empty DVC cache" in empty.cure
    assert f"`dvc cache dir --local {project / '.dvc' / 'cache'}`" in empty.cure


def run_doctor(folder: Path, *options: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, *options, "-m", "melanoma.stages.doctor"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_it_needs_no_packages_and_prints_one_line_for_each_check(project):
    done = run_doctor(project, "-S")  # without site-packages
    assert (done.returncode, done.stderr) == (0, "")
    assert "warn  packages   not installed. Run `make install`" in done.stdout
    checks = ["Python", "packages", "disk", "memory", "cores", "git", "chromium", "port", "port", "port"]
    assert [line.split()[1] for line in done.stdout.splitlines()] == checks


def test_what_prevents_the_demo_ends_it_with_1(project):
    whole = run_doctor(project)
    assert whole.returncode == 0
    assert len(whole.stdout.splitlines()) == 14
    (project / "params.yaml").write_text("{}")
    assert run_doctor(project).returncode == 1


@pytest.mark.parametrize("name", ["stages/doctor.py", "stages/ports.py", "stages/__init__.py", "__init__.py"])
def test_an_old_python_can_read_it(name):
    ast.parse((ROOT / "src" / "melanoma" / name).read_text(), feature_version=(3, 8))
