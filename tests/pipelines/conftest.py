import pytest

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
