import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from melanoma import tracking, tracking_fields
from melanoma.errors import TrackingError
from melanoma.registry import looks, versions


@pytest.fixture
def store(empty_store, tmp_path, monkeypatch):
    """An empty store, of which the file lies in the current folder."""
    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    # Absolute, because MLflow keeps one engine for each URI of a process.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return tracking.client()


def open_run(**changes):
    return tracking.open_run(**({"experiment": "e", "name": "n", "tags": {"cohort": "ph2"}} | changes))


def test_without_a_setting_runs_go_to_a_sqlite_file_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with open_run():
        pass
    assert Path("mlflow.db").is_file()


def test_a_run_that_ends_well_is_finished_with_its_tags_params_and_epochs(store):
    with open_run(params={"train": {"seed": 1}, "depth": 3}) as run:
        run.log_epoch(1, {"loss": 0.5})
        run.log_epoch(2, {"loss": 0.25})
    found = store.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "n"
    assert found.data.tags["cohort"] == "ph2"
    assert found.data.params == {"train.seed": "1", "depth": "3"}
    history = store.get_metric_history(run.run_id, "epoch/train_loss")
    assert [(entry.step, entry.value) for entry in history] == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("bad"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_run_that_ends_badly_says_so_and_why(store, error, status):
    with pytest.raises(type(error)), open_run() as run:
        raise error
    found = store.get_run(run.run_id)
    assert found.info.status == status
    assert found.data.tags["error"].startswith(type(error).__name__)


def test_a_run_that_is_gone_on_with_no_longer_has_the_error_of_before(store):
    with pytest.raises(KeyboardInterrupt), open_run() as run:
        raise KeyboardInterrupt
    with open_run(run_id=run.run_id) as again:
        pass
    found = store.get_run(run.run_id)
    assert again.run_id == run.run_id
    assert found.info.status == "FINISHED"
    assert "error" not in found.data.tags


def test_a_run_is_found_by_a_tag_of_its_own_in_its_experiment_only(store):
    with open_run(tags={"training_id": "a"}) as run, open_run(tags={"training_id": "b"}):
        pass
    assert tracking.find_run("e", tag="training_id", value="a") == run.run_id
    assert tracking.find_run("e", tag="training_id", value="c") is None
    assert tracking.find_run("another", tag="training_id", value="a") is None


def test_only_a_run_that_a_kill_left_running_is_ended(store):
    with open_run() as finished:
        pass
    with open_run() as run:
        store.update_run(run.run_id, status="RUNNING")
        for one in (run, finished):
            tracking.end_abandoned_run(one.run_id)
        statuses = [store.get_run(one.run_id).info.status for one in (run, finished)]
    assert statuses == ["KILLED", "FINISHED"]


def test_the_epochs_that_a_run_has_are_known(store):
    with open_run() as run:
        run.log_epoch(1, {"loss": 0.5})
        run.log_epoch(3, {"loss": 0.25})
    assert run.logged_steps("epoch/train_loss") == {1, 3}
    assert run.logged_steps("epoch/holdout_loss") == set()


def test_a_training_that_began_with_other_names_of_metrics_gets_all_epochs_by_the_names_of_now(store):
    history = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25], "val_loss": [0.6, 0.5]})
    with open_run() as run:
        run.log_metrics({"loss": 0.5, "val_loss": 0.6}, step=1)  # as earlier versions did
        run.log_missing_epochs(history)
        run.log_missing_epochs(history)
    assert run.logged_steps("loss") == {1}
    logged = store.get_metric_history(run.run_id, "epoch/train_loss")
    assert [(entry.step, entry.value) for entry in logged] == [(1, 0.5), (2, 0.25)]


def test_undefined_metrics_are_left_out(store):
    with open_run() as run:
        run.log_metrics({"a": 1.0, "b": float("nan"), "c": None, "d": float("inf")})
    assert store.get_run(run.run_id).data.metrics == {"a": 1.0}


def test_a_run_says_what_it_is_by_which_command_code_and_user(store, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--cohort", "ph2", "--packed", "data/packed/ph2", "--force"])
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.setattr(tracking_fields, "commit_tags", lambda: {"git_commit": "c0ffee"})
    with open_run(note="A network.") as run:
        child = tracking.start_child(run, name="trial", tags={}, params={}, note="A trial.")
    for one, note in ((run, "A network."), (child, "A trial.")):
        tags = store.get_run(one.run_id).data.tags
        assert tags["mlflow.note.content"] == note
        assert tags["mlflow.source.name"].endswith(" --cohort ph2 --force")  # the page shows no paths
        assert tags["mlflow.source.type"] == "LOCAL"
        assert tags["mlflow.source.git.commit"] == "c0ffee"
        assert tags["mlflow.user"] == "ada"


def test_a_user_without_a_name_is_told_by_number(store, monkeypatch):
    def fail():
        raise KeyError("no such user")

    monkeypatch.setattr("getpass.getuser", fail)
    with open_run() as run:
        pass
    assert store.get_run(run.run_id).data.tags["mlflow.user"] == str(os.getuid())


def test_no_commit_is_told_where_git_cannot_be_asked(store, monkeypatch):
    monkeypatch.setattr(tracking_fields, "commit_tags", lambda: {"git_commit": "unknown"})
    with open_run() as run:
        pass
    assert "mlflow.source.git.commit" not in store.get_run(run.run_id).data.tags


def dataset(context, digest):
    return tracking_fields.Dataset("melanoma-ph2", digest, context, num_images=120, num_malignant=24)


def test_the_datasets_of_a_run_are_stored_once_and_a_long_digest_is_shortened(store):
    with open_run() as run:
        for _ in range(2):  # a training that is resumed logs them again
            run.log_datasets([dataset("training", "a" * 64), dataset("validation", "b")])
        run.log_datasets([dataset("test", "c")])
    inputs = store.get_run(run.run_id).inputs.dataset_inputs
    found = {one.tags[0].value: (one.dataset.name, one.dataset.digest) for one in inputs}
    assert len(inputs) == len(found)
    assert found == {
        "training": ("melanoma-ph2", "a" * 36),
        "validation": ("melanoma-ph2", "b"),
        "test": ("melanoma-ph2", "c"),
    }
    assert json.loads(inputs[0].dataset.profile) == {"num_rows": 120, "num_malignant": 24}


def test_a_child_is_shown_under_its_parent(store):
    with open_run() as parent, open_run(parent_id=parent.run_id) as child:
        pass
    assert store.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_a_run_goes_on_under_its_id(store):
    with open_run() as first:
        first.log_metrics({"a": 1})
    with open_run(run_id=first.run_id) as second:
        second.log_metrics({"b": 2})
    assert second.run_id == first.run_id
    assert store.get_run(first.run_id).data.metrics == {"a": 1, "b": 2}


def test_a_run_that_the_store_lost_is_made_anew(store):
    with open_run(run_id="0" * 32) as run:
        pass
    assert run.run_id != "0" * 32


def test_under_mlflow_run_every_stage_still_has_a_run_of_its_own(store, monkeypatch):
    with open_run() as project:
        monkeypatch.setenv("MLFLOW_RUN_ID", project.run_id)
        with open_run() as first, open_run() as second:
            pass
    assert len({project.run_id, first.run_id, second.run_id}) == 3
    tags = store.get_run(first.run_id).data.tags
    assert (tags["project_run_id"], tags["mlflow.source.type"]) == (project.run_id, "PROJECT")


def test_resuming_an_unknown_run_is_refused_and_a_known_one_is_found(store):
    with pytest.raises(TrackingError, match="not in the tracking store sqlite:///"):
        tracking.resume_run("0" * 32)
    with open_run() as run:
        pass
    assert tracking.resume_run(run.run_id).run_id == run.run_id


def test_figures_and_files_become_artifacts(store, tmp_path):
    (tmp_path / "note.txt").write_text("x")
    with open_run() as run:
        run.log_figure(Figure(), "empty.png")
        run.log_file(tmp_path / "note.txt", "data")
    assert [file.path for file in store.list_artifacts(run.run_id, "figures")] == ["figures/empty.png"]
    found = tracking.download_run_file(run.run_id, "data/note.txt", tmp_path / "there")
    assert found.read_text() == "x"


def test_a_folder_becomes_artifacts_with_all_that_lies_below_it(store, tmp_path):
    (tmp_path / "docs" / "pages").mkdir(parents=True)
    (tmp_path / "docs" / "index.html").write_text("i")
    (tmp_path / "docs" / "pages" / "one.html").write_text("1")
    with open_run() as run:
        run.log_folder(tmp_path / "docs", "site")
    found = tracking.download_run_file(run.run_id, "site", tmp_path / "there")
    files = {path.relative_to(found).as_posix(): path.read_text() for path in found.rglob("*.html")}
    assert files == {"index.html": "i", "pages/one.html": "1"}


def test_a_missing_artifact_is_refused_with_its_address(store, tmp_path):
    with open_run() as run:
        pass
    with pytest.raises(TrackingError, match=f"runs:/{run.run_id}/data/none.txt cannot be read"):
        tracking.download_run_file(run.run_id, "data/none.txt", tmp_path)


def test_an_alias_that_nobody_holds_finds_no_version(store):
    assert versions.find_version("melanoma-none", versions.STAGING) is None


def test_a_deleted_experiment_is_refused_with_how_to_restore_it(store):
    with open_run():
        pass
    store.delete_experiment(store.get_experiment_by_name("e").experiment_id)
    with pytest.raises(TrackingError, match="mlflow experiments restore --experiment-id"), open_run():
        pass


def test_a_deleted_run_is_made_anew(store):
    with open_run() as first:
        pass
    store.delete_run(first.run_id)
    with open_run(run_id=first.run_id) as second:
        pass
    assert second.run_id != first.run_id


def test_a_child_stays_open_until_it_is_ended_whoever_does_that(store):
    with open_run() as parent:
        child = tracking.start_child(parent, name="trial 7", tags={"trial": 7}, params={"depth": 3})
        child.log_epoch(1, {"loss": 0.5})
    found = store.get_run(child.run_id)
    assert (found.info.status, found.info.run_name) == ("RUNNING", "trial 7")
    assert found.data.params == {"depth": "3"}
    assert found.data.tags["trial"] == "7"
    tracking.resume_run(child.run_id).end(tracking.KILLED)
    assert store.get_run(child.run_id).info.status == "KILLED"


def test_the_children_of_a_run_are_found_with_status_and_tags_and_no_others(store):
    with open_run() as parent, open_run() as other:
        for number, status in enumerate(("FINISHED", "FAILED", "KILLED")):
            tracking.start_child(parent, name="t", tags={"trial": number}, params={}).end(status)
        tracking.start_child(parent, name="t", tags={"trial": 3}, params={})
        tracking.start_child(other, name="t", tags={"trial": 4}, params={})
    found = {child.tags["trial"]: child.status for child in tracking.children(parent)}
    assert found == {"0": "FINISHED", "1": "FAILED", "2": "KILLED", "3": "RUNNING"}
    assert tracking.children(tracking.children(parent)[0].run) == []


def test_children_are_found_on_every_page(store, monkeypatch):
    with open_run() as parent:
        for number in range(5):
            tracking.start_child(parent, name="t", tags={"trial": number}, params={})
    monkeypatch.setattr(tracking, "PAGE", 2)
    assert sorted(child.tags["trial"] for child in tracking.children(parent)) == list("01234")


def test_a_page_becomes_an_artifact(store, tmp_path):
    with open_run() as run:
        run.log_text("<p>x</p>", "figures/page.html")
    found = tracking.download_run_file(run.run_id, "figures/page.html", tmp_path / "there")
    assert found.read_text() == "<p>x</p>"


@pytest.mark.parametrize("uri", ["foo://x", "postgresql+psycopg://127.0.0.1:1/none"])
def test_a_store_that_cannot_be_opened_is_refused_by_its_address(store, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    with pytest.raises(TrackingError, match="does not answer"):
        tracking.client()


def test_an_empty_setting_means_the_default(store, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert tracking.client().tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"


def test_artifacts_lie_beside_the_file_whatever_the_current_folder(store, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other/mlflow.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with open_run() as run:
        run.log_text("x", "note.txt")
    assert list((tmp_path / "other" / "mlruns").rglob("note.txt"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_copy_of_a_store_is_refused_before_anything_is_written(store, tmp_path, monkeypatch):
    with open_run() as run:
        run.log_text("x", "note.txt")
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "mlruns", copy / "mlruns")
    shutil.copy(tmp_path / "mlflow.db", copy)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copy}/mlflow.db")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with (
        pytest.raises(TrackingError, match=r"moved or copied.*python -m pipelines.relocate"),
        open_run(),
    ):
        pass
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_deleted_run_is_refused_with_how_to_restore_it(store):
    with open_run() as run:
        pass
    store.delete_run(run.run_id)
    with pytest.raises(TrackingError, match=f"was deleted .* mlflow runs restore --run-id {run.run_id}"):
        tracking.resume_run(run.run_id)
    store.restore_run(run.run_id)
    assert tracking.read_run(run.run_id).info.run_id == run.run_id


def test_a_run_of_a_deleted_experiment_comes_back_with_it(store):
    with open_run() as run:
        pass
    experiment = store.get_experiment_by_name("e").experiment_id
    store.delete_experiment(experiment)
    with pytest.raises(TrackingError, match=f"mlflow experiments restore --experiment-id {experiment}"):
        tracking.resume_run(run.run_id)
    store.restore_experiment(experiment)
    assert tracking.resume_run(run.run_id).run_id == run.run_id


@pytest.mark.parametrize("trace", ["ledger", "trial", "version"])
def test_a_run_that_was_removed_for_good_is_told_from_one_of_another_store(store, tmp_path, trace):
    with open_run() as run:
        match trace:
            case "ledger":
                looked: dict[str, Any] = {
                    "model": "tuned",
                    "images": ["a"],
                    "model_digest": "m",
                    "purpose": "evaluate",
                }
                looks.record("melanoma-e", run_id=run.run_id, **looked)
            case "trial":
                tracking.start_child(run, name="t", tags={}, params={}).end(tracking.FINISHED)
            case "version":
                store.create_registered_model("melanoma-e")
                store.create_model_version("melanoma-e", str(tmp_path), run_id=run.run_id)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        for table in ("tags", "latest_metrics", "metrics", "params", "runs"):  # as `mlflow gc` does
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run.run_id,))
    with pytest.raises(
        TrackingError,
        match=(
            r"was permanently removed from the tracking store .* backup of "
            r"the store"
        ),
    ):
        tracking.resume_run(run.run_id)
    with pytest.raises(TrackingError, match=r"made with another store\. Set MLFLOW_TRACKING_URI"):
        tracking.resume_run("0" * 32)


def test_a_deleted_run_that_is_replaced_is_named(store, capsys):
    with open_run() as first:
        pass
    store.delete_run(first.run_id)
    with open_run(run_id=first.run_id):
        pass
    assert f"run {first.run_id} was deleted; a new run" in capsys.readouterr().err


def test_a_registry_that_refuses_a_name_is_not_one_without_a_holder(store):
    with pytest.raises(TrackingError, match="The alias staging of  cannot be looked up"):
        versions.find_version("", versions.STAGING)


def test_a_deleted_run_is_not_found_by_its_tag_and_that_is_said(store, capsys):
    with open_run(tags={"training_id": "a"}) as run:
        pass
    store.delete_run(run.run_id)
    assert tracking.find_run("e", tag="training_id", value="b") is None
    assert capsys.readouterr().err == ""
    assert tracking.find_run("e", tag="training_id", value="a") is None
    assert f"mlflow runs restore --run-id {run.run_id}`. Otherwise" in capsys.readouterr().err
