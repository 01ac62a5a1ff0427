import pytest

from tests.end_to_end.clone import make_clone, run
from tests.pipelines.workspace import SMALL


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A clone with small parameters in which `dvc repro` has run; its output is in `demo.log`."""
    folder = make_clone(tmp_path_factory.mktemp("demo"), SMALL)
    (folder.parent / "demo.log").write_text(run(folder, "dvc", "repro"))
    return folder
