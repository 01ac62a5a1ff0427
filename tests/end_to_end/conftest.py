import shutil

import pytest

from tests.end_to_end.clone import make_clone, run
from tests.pipelines.workspace import SMALL
from tests.shared import build_once


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A clone with small parameters in which `dvc repro` has run, shared by all processes, read-only.

    The output of the command is in `demo.log` beside it.
    """

    def build(folder):
        made = folder / "clone"
        make_clone(made, SMALL)
        (folder / "demo.log").write_text(run(made, "dvc", "repro"))

    return build_once(tmp_path_factory, "demo", build) / "clone"


@pytest.fixture(scope="module")
def demo_copy(demo, tmp_path_factory):
    """A copy of the finished demo for the tests of one file, which may change it."""
    copy = shutil.copytree(demo, tmp_path_factory.mktemp("demo") / "copy", symlinks=True)
    run(copy, "python", "-m", "pipelines.relocate")  # the copied store names paths in the original
    return copy
