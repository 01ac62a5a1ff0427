import pytest

from tests.pipelines import releasable
from tests.pipelines import workspace as ws


@pytest.fixture
def at_workspace(workspace):
    """The current folder is the finished workspace."""
    with ws.inside(workspace):
        yield workspace


@pytest.fixture
def broken(workspace, tmp_path):
    """The current folder is a copy of the workspace, to break things in."""
    folder = ws.copy(workspace, tmp_path / "copy")
    with ws.inside(folder):
        yield folder


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry whose three versions may be released; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    releasable.fill(tmp_path)
