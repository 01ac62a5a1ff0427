import shutil

import pytest
from mlflow import MlflowClient

from pipelines import _cli, history, relocate
from tests.registry.shelf import NAME


@pytest.fixture
def moved(shelf, monkeypatch, tmp_path):
    """The current folder is where a project with one version was moved to; no store is configured."""
    shelf.move(shelf.register())
    there = tmp_path / "there"
    shutil.move(shelf.folder, there)
    (there / ".dvc").mkdir()
    monkeypatch.chdir(there)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return there


def test_a_moved_project_says_what_to_run_and_works_afterwards(moved, monkeypatch, capsys):
    assert _cli.run(history.main, [NAME]) == 1
    assert f"{moved}/mlflow.db was moved or copied" in capsys.readouterr().err
    assert _cli.run(relocate.main, ["--check"]) == 1
    assert "python -m pipelines.relocate" in capsys.readouterr().err

    assert _cli.run(relocate.main, ["--dry-run"]) == 0
    assert "[relocate] would change from" in capsys.readouterr().out
    assert _cli.run(relocate.main, ["--check"]) == 1
    assert _cli.run(relocate.main, []) == 0
    out = capsys.readouterr().out
    assert "[relocate] runs.artifact_uri: 2 paths\n" in out
    assert f"backup of the store: {moved}/mlflow.db.before-relocate-" in out
    assert _cli.run(relocate.main, ["--check"]) == 0
    assert _cli.run(history.main, [NAME]) == 0


def test_where_nothing_was_moved_nothing_changes(shelf, capsys):
    shelf.register()
    for options in (["--check"], ["--dry-run"], []):
        assert _cli.run(relocate.main, options) == 0
    assert capsys.readouterr().out.count("nothing to change") == 2
    assert [path.name for path in shelf.folder.glob("mlflow.db*")] == ["mlflow.db"]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////nowhere/mlflow.db"])
def test_what_is_no_file_has_nothing_to_relocate(monkeypatch, capsys, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert _cli.run(relocate.main, ["--check"]) == 0
    assert _cli.run(relocate.main, []) == 1
    assert f"{uri} is not a SQLite file" in capsys.readouterr().err


def test_models_whose_files_are_nowhere_are_counted(moved, capsys):
    store = MlflowClient(f"sqlite:///{moved}/mlflow.db")
    store.create_logged_model("1", name="m")
    assert _cli.run(relocate.main, ["--dry-run"]) == 0
    assert "1 models are in neither the old nor the new folder" in capsys.readouterr().out
