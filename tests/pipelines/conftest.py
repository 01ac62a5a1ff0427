import shutil

import pytest

from tests.pipelines import workspace as ws


@pytest.fixture
def at_workspace(workspace):
    """The current folder is the finished workspace."""
    with ws.inside(workspace):
        yield workspace


@pytest.fixture
def own(workspace, tmp_path):
    """The current folder is a copy of the finished workspace with its tracking store, to change things in."""
    folder = ws.copy_with_store(workspace, tmp_path / "own")
    with ws.inside(folder):
        yield folder


@pytest.fixture
def broken(workspace, empty_store, tmp_path):
    """The current folder is a copy of the workspace with an empty tracking store, to break things in."""
    folder = ws.copy(workspace, tmp_path / "copy")
    shutil.copy(empty_store, folder)
    with ws.inside(folder):
        yield folder
