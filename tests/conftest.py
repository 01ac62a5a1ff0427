"""What tests of all parts share: the committed parameters and the folder of real images."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from melanoma import config
from tests.browser import chromium
from tests.pipelines import workspace as ws
from tests.postgres import postgres
from tests.ray_nodes import cluster
from tests.s3 import new_bucket, no_s3_settings, s3, s3_server
from tests.shared import build_once

__all__ = [
    "chromium",
    "cluster",
    "new_bucket",
    "no_s3_settings",
    "postgres",
    "s3",
    "s3_server",
]  # fixtures for all

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when the library is imported
# A shell starts what runs in its background deaf to Ctrl-C, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
SHARED = ("demo", "workspace", "study_workspace")  # fixtures that take minutes to build


@pytest.hookimpl(trylast=True)  # when the tests are selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with one file for each shared folder: the other processes run other files during its build."""
    first: dict[str, Path] = {}
    for item in items:
        for name in set(SHARED) & set(getattr(item, "fixturenames", ())):
            first.setdefault(name, item.path)
    items.sort(key=lambda item: item.path not in first.values())


@pytest.fixture(scope="session")
def params() -> config.Params:
    """`params.yaml` as it stands in the checkout."""
    return config.load(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, or a skip that says where it was looked for."""
    folder = (ROOT / os.environ.get("MELANOMA_REAL_DATA", "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set MELANOMA_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Path:
    """Every stage has run here once, on a small synthetic dataset; shared by all processes, read-only."""
    return build_once(tmp_path_factory, "workspace", _run_all_stages) / "finished"


def _run_all_stages(top: Path) -> None:
    folder = top / "finished"
    folder.mkdir()
    ws.write_params(folder / "params.yaml", ws.SMALL)
    shutil.copy(ROOT / "dvc.yaml", folder)  # the page draws it
    with ws.inside(folder):
        for stage in ws.STAGE_ORDER:
            if stage == "promote":
                ws.copy_with_store(folder, top / "evaluated")
            assert ws.run_stage(stage) == 0, stage


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """The file of an empty tracking store, to be copied; creating one takes MLflow seconds."""
    return build_once(tmp_path_factory, "empty-store", _create_store) / "mlflow.db"


def _create_store(folder: Path) -> None:
    from melanoma import tracking  # MLflow takes seconds to import

    with ws.inside(folder):
        tracking.client()


@pytest.fixture
def shelf(empty_store, tmp_path, monkeypatch):
    """An empty registry in the current folder, which is empty too."""
    from tests.registry.shelf import Shelf

    folder = tmp_path / "shelf"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return Shelf(folder)
