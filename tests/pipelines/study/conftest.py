from pathlib import Path

import pytest

from tests.pipelines import workspace as ws
from tests.shared import build_once


@pytest.fixture(scope="session")
def study_workspace(workspace, tmp_path_factory) -> Path:
    """A copy of the workspace in which every stage of the study has run once; read-only."""

    def run_study(folder: Path) -> None:
        ws.copy_with_store(workspace, folder)
        ws.change_params(folder / "params.yaml", **ws.SMALL_STUDY)
        with ws.inside(folder):
            for stage in ws.STUDY_STAGE_ORDER:
                assert ws.run_stage(stage) == 0, stage

    return build_once(tmp_path_factory, "study-workspace", run_study)


@pytest.fixture
def at_workspace(study_workspace):
    """The current folder is the finished workspace of the study."""
    with ws.inside(study_workspace):
        yield study_workspace


@pytest.fixture
def broken(study_workspace, tmp_path):
    """The current folder is a copy of the workspace of the study, to break things in."""
    folder = ws.copy(study_workspace, tmp_path / "copy")
    with ws.inside(folder):
        yield folder
