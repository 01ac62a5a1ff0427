"""Each test module runs the stage of its constant `STAGE` once, in a copy of the workspace."""

import shutil

import pytest

from tests.pipelines import workspace as ws


@pytest.fixture(scope="module")
def finished(request, workspace, tmp_path_factory):
    """A copy of the workspace in which the stage of this module has run once; read-only."""
    folder = ws.copy_with_store(workspace, tmp_path_factory.mktemp("study") / "finished")
    ws.change_params(folder / "params.yaml", **ws.SMALL_STUDY)
    with ws.inside(folder):
        assert ws.run_stage(request.module.STAGE) == 0
    return folder


@pytest.fixture
def at_workspace(finished):
    """The current folder is the finished copy."""
    with ws.inside(finished):
        yield finished


@pytest.fixture
def broken(finished, empty_store, tmp_path):
    """The current folder is a copy of the finished copy with an empty tracking store, to break things in."""
    folder = ws.copy(finished, tmp_path / "copy")
    shutil.copy(empty_store, folder)
    with ws.inside(folder):
        yield folder
