"""`python -m pipelines.propose` says whether a new training is justified, and runs nothing."""

import json
import shlex
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from dvc.cli import parse_args
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from melanoma import config, tracking
from melanoma.errors import TrackingError
from melanoma.registry import ledger
from melanoma.stages import propose as stage
from melanoma.stages.monitored import Window
from melanoma.stages.propose import LABEL, NOTHING, RECALIBRATE, TRAIN, Asked, Facts
from pipelines import _cli, propose
from tests.imports import ROOT
from tests.monitoring.test_records import line
from tests.registry.shelf import NAME

NUM_ANSWERS = 12
PARAMS = config.load(ROOT / "params.yaml")
ASKED = Asked(NAME, 1, "my records", [Path("a.csv"), Path("b c.csv")], Path("images"), "north")
FINE = {
    "calibration_intercept": {"value": 0.1, "low": -0.2, "high": 0.4},
    "calibration_slope": {"value": 1.0, "low": 0.8, "high": 1.2},
    "auc_roc": {"value": 0.85, "low": 0.8, "high": 0.9},
}
BROKEN = FINE | {"calibration_intercept": {"value": -0.9, "low": -1.2, "high": -0.6}}


# ---- the decision ----------------------------------------------------------------------------


def window(*alarms, month=5, calibration=None, is_below=None):
    return Window(
        datetime(2026, month + 1, 1, tzinfo=UTC),
        {
            "version": "1",
            "since": f"2026-{month:02}-01T00:00:00+00:00",
            "until": f"2026-{month + 1:02}-01T00:00:00+00:00",
            "alarms": list(alarms),
            "sensitivity": None if is_below is None else {"is_below_minimum": is_below},
            "calibration": calibration,
        },
    )


def decide(*windows, new=0, positive=0, test_auc=0.88):
    return stage.decide(ASKED, Facts(new, positive, windows, test_auc, []), PARAMS)


@pytest.mark.parametrize(
    ("new", "positive", "kind"),
    [(200, 20, TRAIN), (199, 20, NOTHING), (200, 19, NOTHING), (0, 0, NOTHING)],
)
def test_enough_labels_justify_a_training(new, positive, kind):
    found = decide(window(), window(month=6), new=new, positive=positive)
    assert found.kind == kind
    assert found.reasons == [
        f"{new} new labelled lesions (200 needed)",
        f"{positive} positive ones (20 needed)",
        "no alarm in 2 windows",
    ]


def test_an_alarm_justifies_a_training_if_there_is_something_to_learn_from():
    windows = window("the answers are shifted"), window(month=6)
    found = decide(*windows, new=1)
    assert found.kind == TRAIN
    assert "the answers are shifted (2026-05-01 to 2026-06-01)" in found.reasons
    without = decide(*windows)
    queue = "python -m pipelines.queue --records 'my records' --labels a.csv 'b c.csv'"
    assert (without.kind, without.commands) == (
        LABEL,
        [f"{queue} --model melanoma-ph2 --out queue.csv"],
    )


def test_a_broken_calibration_alone_asks_for_a_new_calibration():
    found = decide(window("the answers are shifted", calibration=BROKEN, is_below=False), new=5)
    assert found.kind == RECALIBRATE
    assert "calibration_intercept -0.900 (-1.200 to -0.600) excludes 0" in found.reasons
    assert "the AUC in use, 0.850 (0.800 to 0.900), is not shown to be lower" in found.reasons
    records = "--records 'my records' --labels a.csv 'b c.csv'"
    assert found.commands == [
        f"python -m pipelines.recalibrate melanoma-ph2 --version 1 --clinic north {records}"
    ]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, RECALIBRATE),
        ({"is_below": True}, TRAIN),  # then missed melanomas are shown, which no calibration repairs
        ({"calibration": BROKEN | {"auc_roc": {"value": 0.7, "low": 0.6, "high": 0.8}}}, TRAIN),
        ({"calibration": BROKEN | {"auc_roc": {"value": None, "low": None, "high": None}}}, TRAIN),
        ({"calibration": FINE}, TRAIN),
        ({"calibration": None}, TRAIN),
    ],
)
def test_a_new_calibration_is_enough_only_if_nothing_else_broke(changes, kind):
    found = decide(window("alarm", **{"calibration": BROKEN, "is_below": False} | changes), new=5)
    assert found.kind == kind


def test_the_calibration_of_the_last_window_counts():
    assert decide(window(calibration=BROKEN), window(month=6, calibration=FINE)).kind == NOTHING
    assert decide(window(calibration=FINE), window(month=6, calibration=BROKEN)).kind == RECALIBRATE


# ---- its commands ----------------------------------------------------------------------------


def test_the_commands_of_a_training_name_parameters_that_exist(tmp_path):
    queue, fetch, train = decide(new=200, positive=20).commands
    assert queue == (
        "python -m pipelines.queue --records 'my records' --labels a.csv 'b c.csv' --images images "
        "--labelled-out labelled"
    )
    assert fetch == (
        "python -m pipelines.fetch clinic --metadata labelled/metadata.csv --images labelled/images --add"
    )
    changes = parse_args(shlex.split(train)[1:]).set_param
    shutil.copy(ROOT / "params.yaml", tmp_path)
    path = tmp_path / "params.yaml"
    apply_overrides(path, changes)
    changed = config.load(path)
    assert changed.run.cohorts == ["ph2"]
    assert changed.run.datasets == changed.cohorts["ph2"] == ["ph2", "clinic"]
    yaml = YAML(typ="safe", pure=True)
    before, after = yaml.load(ROOT / "params.yaml"), yaml.load(path)
    assert {key for key in after if before[key] != after[key]} == {"run", "cohorts"}


# ---- the command -----------------------------------------------------------------------------


@pytest.fixture
def served(shelf):
    """A registry with a version in staging, and records of its answers: images 0 to 2 were in its data."""
    shelf.register(test_auc_roc="0.88")
    run = tracking.client().get_model_version(NAME, "1").tags["run_id"]
    known = pd.DataFrame({"image_id": ["a", "b", "c"], "sha256": [f"digest of p{n}" for n in range(3)]})
    tracking.client().log_text(run, known.to_csv(index=False), "data/images.csv")
    tracking.client().log_text(run, "python==3.11\n", "environment.txt")
    shelf.move(1)
    spool = shelf.folder / "records" / "spool"
    spool.mkdir(parents=True)
    lines = [
        line(f"p{n}", group_key=f"g{n // 2}", model_name=NAME, model_version="1") for n in range(NUM_ANSWERS)
    ]
    (spool / "a.jsonl").write_bytes(b"".join(lines))
    shutil.copy(ROOT / "params.yaml", shelf.folder)
    return shelf


def run(*options):
    return _cli.run(propose.main, [NAME, "--records", "records", *options])


def monitored(*alarms, version="1"):
    found = dict(window(*alarms).result) | {"version": version}
    tags = {name: found[name] for name in ("version", "since", "until")}
    tags |= {"is_alarm": str(bool(alarms)).lower()}
    reason = "; ".join(alarms) or "no alarm"
    return ledger.add(NAME, ledger.MONITOR, by="pipelines.monitor", reason=reason, tags=tags, evidence=found)


def write_labels(path="labels.csv"):
    """Of every answer; those of g5, the last group, are positive, and one row fits no answer."""
    rows = [f"p{n},{'positive' if n >= NUM_ANSWERS - 2 else 'negative'}" for n in range(NUM_ANSWERS)]
    Path(path).write_text("\n".join(["prediction_id,label", *rows, "nobody,positive"]) + "\n")
    return path


def proposals():
    return ledger.entries(NAME, kind=ledger.PROPOSAL)


def test_groups_with_images_that_the_version_does_not_know_count(served, capsys):
    assert run("--labels", write_labels()) == 0
    said = capsys.readouterr().out
    counts = "5 new labelled lesions (200 needed), 1 positive ones (20 needed), no alarm in 0 windows"
    assert f"{NAME} version 1: a new training is not justified: {counts}" in said
    (entry,) = proposals()
    assert (entry.tags["proposal"], entry.version, entry.status) == ("nothing", 1, "FINISHED")
    logged = tracking.read_run(entry.tags["run"])
    assert logged.data.metrics == {"proposal/new": 5, "proposal/new_positive": 1}
    found = json.loads(tracking.download_run_file(entry.tags["run"], "proposal.json", Path("x")).read_text())
    assert (found["kind"], found["num_new"], found["commands"]) == ("nothing", 5, [])
    page = tracking.download_run_file(entry.tags["run"], "proposal.md", Path("x")).read_text()
    assert "not a medical device" in page
    assert "labels of images without an answer: labels.csv:14" in page


def test_an_alarm_since_the_version_is_served_is_a_reason(served, capsys):
    monitored("of another version", version="2")
    earlier = monitored("before it was served")
    served.set_time(earlier, datetime.now(UTC) - timedelta(days=1))
    assert run("--labels", write_labels()) == 0
    assert "no alarm in 0 windows" in capsys.readouterr().out
    monitored("the answers are shifted")
    assert run("--labels", write_labels()) == 0
    said = capsys.readouterr().out
    assert "a new training is justified" in said
    assert "the answers are shifted (2026-05-01 to 2026-06-01)" in said
    assert said.splitlines()[-1].startswith("dvc exp run -S 'run.datasets=[ph2,clinic]'")
    assert [one.tags["proposal"] for one in proposals()] == ["nothing", "train"]
    assert tracking.client().get_model_version(NAME, "1").tags["proposal"] == "train"


def test_a_window_that_was_monitored_again_counts_once_with_its_last_result(served, capsys):
    monitored("the answers are shifted")
    monitored()
    assert run() == 0
    assert "no alarm in 1 windows" in capsys.readouterr().out


def test_an_alarm_whose_details_are_gone_is_still_a_reason(served, monkeypatch, capsys):
    monitored("the answers are shifted")

    def gone(run_id):
        raise TrackingError("gone")

    monkeypatch.setattr(ledger, "evidence", gone)
    assert run() == 0
    assert "the answers are shifted (2026-05-01 to 2026-06-01)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--version", "9"], "has no version 9"),
        (["--records", "nowhere"], "is not a folder of records"),
        (["--labels", "nowhere.csv"], "nowhere.csv does not exist"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_is_proposed(served, options, reason, capsys):
    assert run(*options) == 1
    assert reason in capsys.readouterr().err
    assert proposals() == []
    assert run() == 0
    assert len(proposals()) == 1


def test_a_model_of_no_cohort_is_refused(served, capsys):
    assert _cli.run(propose.main, ["other-model", "--records", "records"]) == 1
    assert "is no model of a cohort of params.yaml; expected melanoma-<cohort>" in capsys.readouterr().err
