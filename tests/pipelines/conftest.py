import pytest

from tests.pipelines import workspace as ws


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """Every stage has run here once, on a small synthetic dataset; read only."""
    folder = tmp_path_factory.mktemp("workspace")
    ws.write_params(folder / "params.yaml", ws.SMALL)
    with ws.inside(folder):
        for stage in ws.STAGE_ORDER:
            assert ws.run_stage(stage) == 0, stage
    return folder


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
