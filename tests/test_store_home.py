import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from melanoma import store_home, tracking
from melanoma.errors import TrackingError
from melanoma.registry import versions
from tests.registry.shelf import NAME, Shelf


@pytest.fixture
def project(empty_store, tmp_path, monkeypatch):
    """A project with a run, an artifact and a version; it is the current folder."""
    folder = tmp_path / "A"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    enter(folder, monkeypatch)
    Shelf(folder).register()
    return folder


def enter(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")


def copy(folder, name):
    return Path(shutil.copytree(folder, folder.parent / name))


def move(folder, name):
    return folder.rename(folder.parent / name)


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def named(folder):
    """All local folders that the store of `folder` names."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        return store_home._local_paths(store)


def dump(file):
    with closing(sqlite3.connect(file)) as store:
        return list(store.iterdump())


def forget_home(folder):
    """As a store is that was made before stores noted where they lie."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        store.execute("DROP TABLE melanoma_home")


@pytest.mark.parametrize("go", [copy, move])
@pytest.mark.parametrize("is_noted", [True, False])
def test_a_store_elsewhere_is_refused_unchanged_and_works_after_the_command(
    project, monkeypatch, tmp_path, go, is_noted
):
    if not is_noted:
        forget_home(project)
    there = go(project, "B")
    enter(there, monkeypatch)
    before, dump_before = content(tmp_path), dump(there / "mlflow.db")
    with pytest.raises(TrackingError, match=rf"artifacts in {project}/mlruns\. Nothing was written\. Run"):
        tracking.client()
    assert content(tmp_path) == before

    done = store_home.relocate(there / "mlflow.db", is_dry_run=False)
    assert done.old == [project]
    assert done.num_changed["runs.artifact_uri"] == 1
    assert done.num_changed["model_versions.source"] == 1
    assert all(path.is_relative_to(there) for path in named(there))
    files = versions.download_version(versions.get_version(NAME, 1), tmp_path / "down")
    assert (files / "artifacts" / "settings.json").is_file()
    untouched = content(project) if project.exists() else {}
    Shelf(there).register()
    assert (content(project) if project.exists() else {}) == untouched
    assert done.backup is not None
    assert dump(done.backup) == dump_before


def test_a_dry_run_changes_nothing_and_a_second_run_neither(project, tmp_path):
    there = copy(project, "B")
    before = content(tmp_path)
    would = store_home.relocate(there / "mlflow.db", is_dry_run=True)
    assert content(tmp_path) == before
    assert would.backup is None
    done = store_home.relocate(there / "mlflow.db", is_dry_run=False)
    assert done.num_changed == would.num_changed
    after = content(tmp_path)
    again = store_home.relocate(there / "mlflow.db", is_dry_run=False)
    assert (again.old, again.backup, sum(again.num_changed.values())) == ([], None, 0)
    assert content(tmp_path) == after


def test_a_change_that_fails_half_way_leaves_the_store_as_it_was(project):
    there = copy(project, "B")
    with closing(sqlite3.connect(there / "mlflow.db")) as store:
        store.execute(
            "CREATE TRIGGER no BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )
    before = named(there)
    with pytest.raises(TrackingError, match="disk is full"):
        store_home.relocate(there / "mlflow.db", is_dry_run=False)
    assert named(there) == before


def test_artifacts_that_were_left_behind_are_named_and_nothing_changes(project, tmp_path):
    there = tmp_path / "B"
    there.mkdir()
    shutil.copy(project / "mlflow.db", there)
    before = content(tmp_path)
    with pytest.raises(TrackingError, match=rf"only in the old place: {project}/mlruns/1.* Copy them"):
        store_home.relocate(there / "mlflow.db", is_dry_run=False)
    assert content(tmp_path) == before


@pytest.mark.parametrize(("old", "new"), [("A", "A/inner"), ("outer/A", "outer")])
def test_of_places_inside_each_other_only_what_was_moved_changes(project, monkeypatch, tmp_path, old, new):
    if old != "A":
        (tmp_path / "outer").mkdir()
        project = move(project, "outer/A")
        store_home.relocate(project / "mlflow.db", is_dry_run=False)
    there = tmp_path / new
    there.mkdir(exist_ok=True)
    for name in ("mlflow.db", "mlruns"):
        shutil.move(project / name, there / name)
    enter(there, monkeypatch)
    with pytest.raises(TrackingError, match="moved or copied"):
        tracking.client()
    store_home.relocate(there / "mlflow.db", is_dry_run=False)
    assert {path.relative_to(there).parts[0] for path in named(there)} == {"mlruns"}
    tracking.client()


def test_artifacts_that_somebody_keeps_elsewhere_stay_there(project, monkeypatch, tmp_path):
    store, far = tracking.client(), tmp_path / "disk" / "mlruns"
    for location in (f"file://{far}/9", "s3://bucket/mlruns/8"):
        experiment = store.create_experiment(location[:4], artifact_location=location)
        run = store.create_run(experiment)
        if location.startswith("file"):
            store.log_text(run.info.run_id, "x", "x.txt")
    forget_home(project)
    tracking.client()  # not refused, and noted
    there = move(project, "B")
    store_home.relocate(there / "mlflow.db", is_dry_run=False)
    enter(there, monkeypatch)
    found = tracking.client().search_experiments()
    locations = {experiment.name: experiment.artifact_location for experiment in found}
    assert (locations["file"], locations["s3:/"]) == (f"file://{far}/9", "s3://bucket/mlruns/8")


def test_addresses_keep_their_form(project, tmp_path):
    with closing(sqlite3.connect("mlflow.db")) as store, store:
        store.execute("UPDATE model_versions SET source = 'file://' || source")
    there = move(project, "B and more")
    store_home.relocate(there / "mlflow.db", is_dry_run=False)
    with closing(sqlite3.connect(there / "mlflow.db")) as store:
        ((source,),) = store.execute("SELECT source FROM model_versions")
    assert source.startswith(f"file://{tmp_path}/B%20and%20more/mlruns/1/")


def test_a_link_to_the_project_is_no_other_place(project, monkeypatch, tmp_path):
    (tmp_path / "link").symlink_to(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/link/mlflow.db")
    tracking.client()


def test_a_store_in_which_nothing_is_yet_goes_along_by_itself(empty_store, tmp_path, monkeypatch):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    enter(tmp_path, monkeypatch)
    tracking.client()
    assert named(tmp_path) == [tmp_path / "mlruns" / "0"]


def test_a_store_that_may_only_be_read_is_read(project, monkeypatch):
    forget_home(project)
    with closing(sqlite3.connect(f"file:{project}/mlflow.db?mode=ro", uri=True)) as store:
        monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: store)
        store_home.record_home(project / "mlflow.db")


def test_what_is_no_database_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").write_text("no database")
    enter(tmp_path, monkeypatch)
    with pytest.raises(TrackingError, match="cannot be used: file is not a database"):
        tracking.client()
