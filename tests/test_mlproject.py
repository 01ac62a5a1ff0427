"""Every entry point of MLproject forms a command that its script accepts.

MLflow itself forms the command here, as for `mlflow run`; `end_to_end/test_mlproject.py` runs two of them.
"""

import argparse
import importlib
import shlex

import pytest
from dvc.cli import parse_args
from mlflow.projects import _project_spec

from tests.imports import ROOT

PROJECT = _project_spec.load_project(str(ROOT))
REPRO = ["python", "-m", "pipelines._repro"]
WHO_AND_WHY = {"by": "A. Name", "reason": "it is better"}
# The parameters that the comments of MLproject name.
PARAMETERS = {
    "fetch": {"dataset": "ph2", "source": "images"},
    "storage": {"direction": "push"},
    "experiment": {"set": "train.num_epochs=100"},
    "crossvalidate": {"cohort": "ph2", "model": "tuned"},
    "ensembles": {"cohort": "ph2", "model": "baseline"},
    "accept": {"cohort": "ph2", **WHO_AND_WHY},
    "release": {"model": "melanoma-ph2", "version": "3", **WHO_AND_WHY},
    "rollback": {"model": "melanoma-ph2", "alias": "production", **WHO_AND_WHY},
    "history": {"model": "melanoma-ph2"},
    "trace": {"model": "models:/melanoma-ph2@staging"},
    "predict": {"images": "images", "out": "out.csv", "model": "models:/melanoma-ph2@staging"},
    "monitor": {
        "model": "melanoma-ph2",
        "records": "records",
        "since": "2026-05-01",
        "until": "2026-06-01",
    },
    "queue": {"records": "records", "out": "queue.csv", "images": "images", "labels": "labels.csv"},
    "replay": {"dataset": "ph2", "url": "http://127.0.0.1:5001", "out": "stream", "rate": "2"},
    "propose": {"model": "melanoma-ph2", "records": "records", "labels": "labels.csv"},
    "recalibrate": {
        "model": "melanoma-ph2",
        "clinic": "north",
        "records": "records",
        "labels": "labels.csv",
    },
    "records": {"action": "compact", "records": "records"},
    "smoke": {"url": "http://127.0.0.1:5001", "cohort": "ph2"},
}


class ParsedError(Exception):
    """The script has parsed its arguments."""


def command(entry_point: str, parameters: dict[str, str], folder: object = "unused") -> list[str]:
    """The words of the command that `mlflow run -e entry_point -P ...` starts."""
    return shlex.split(PROJECT.get_entry_point(entry_point).compute_command(parameters, str(folder)))


@pytest.mark.parametrize("entry_point", sorted(PROJECT._entry_points))
def test_a_script_accepts_the_command_of_its_entry_point(entry_point, monkeypatch):
    words = command(entry_point, PARAMETERS.get(entry_point, {}))
    if words[0] == "dvc":
        assert parse_args(words[1:]).set_param == ["train.num_epochs=100"]
        return
    script = importlib.import_module(words[2])
    if words[:3] == REPRO:
        assert len(words) <= 4  # which stage each one names is tested in test_wiring.py
        return
    original = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, argv):
        original(parser, argv)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    with pytest.raises(ParsedError):
        script.main(words[3:])


def test_an_undeclared_parameter_is_passed_on_as_an_option():
    assert command("tune", {"num_trials": "3"}) == [*REPRO, "tune", "--num_trials", "3"]
