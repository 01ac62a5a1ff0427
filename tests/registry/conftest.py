import shutil

import pytest

from melanoma import tracking

NAME = "melanoma-ph2"


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory):
    """A database with three versions of one model, made once: its tables take seconds."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        store = tracking.client()
        store.create_registered_model(NAME)
        for _ in range(3):
            store.create_model_version(NAME, str(folder))
    return folder / "mlflow.db"


@pytest.fixture
def store(empty_registry, tmp_path, monkeypatch):
    """A client of a copy of it; the current folder is empty, artifacts go there."""
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tracking.client()
