from pathlib import Path

import pytest

from tests.shared import build_once


class Worker:
    """A test process with its own temporary folder."""

    def __init__(self, base):
        base.mkdir(parents=True)
        self.base = base

    def getbasetemp(self):
        return self.base


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """Two workers of one session."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    return Worker(tmp_path / "popen-gw0"), Worker(tmp_path / "popen-gw1")


def test_a_folder_is_built_by_the_first_worker_and_read_by_the_others(workers):
    built: list[Path] = []
    folders = {build_once(worker, "toy", built.append) for worker in (*workers, *workers)}
    assert folders == set(built)
    assert len(built) == 1


def test_a_build_that_failed_is_named_and_not_repeated(workers):
    def fail(folder):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once(workers[0], "toy", fail)
    with pytest.raises(RuntimeError, match="toy could not be built"):
        build_once(workers[1], "toy", fail)


def test_without_workers_the_folder_is_that_of_the_session(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    assert build_once(Worker(tmp_path / "base"), "toy", lambda folder: None) == tmp_path / "base" / "toy"
