import json
from pathlib import Path

import pytest

from melanoma import tracking
from pipelines import _cli, summary
from tests.pipelines import workspace as ws


def test_it_prints_results_with_intervals_and_where_to_look(at_workspace, capsys):
    assert _cli.run(summary.main, []) == 0
    text = capsys.readouterr().out
    metrics = json.loads(Path("reports/sample/metrics.json").read_text())
    entry = metrics["baseline"]["test"]["auc_roc"]
    assert f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})" in text
    point = json.loads(Path("reports/sample/models.json").read_text())[metrics["selected"]]["operating_point"]
    assert f"negative below {point['refer_from']:.3f} and positive from {point['refer_to']:.3f}" in text
    assert all(f"warning: {warning}" in text for warning in point["evidence"]["warnings"])
    assert "SYNTHETIC" in text
    assert "not a medical device" in " ".join(text.split())
    assert "received the alias staging" in text
    seeds = json.loads(Path("reports/sample/seeds.json").read_text())
    assert ("The tuned network equals the baseline" in text) == seeds["same_hyperparameters"]


def test_it_ends_with_three_commands(at_workspace, capsys):
    assert _cli.run(summary.main, []) == 0
    *_, last = capsys.readouterr().out.split("\n\n")
    head, *commands = last.splitlines()
    assert head == "Next:"
    assert [line.split("  ")[1] for line in commands] == [
        "make ui",
        "make serve COHORT=sample",
        "reports/index.html",
    ]


def test_a_refused_model_is_not_served_but_explained(broken, capsys):
    change_headline(is_promoted=False, reasons=["AUC too low"])
    assert _cli.run(summary.main, []) == 0
    text = capsys.readouterr().out
    assert "melanoma-sample version 1 was refused: AUC too low." in text
    assert "make serve" not in text
    assert "python -m pipelines.history melanoma-sample" in text


@pytest.mark.parametrize("is_same", [True, False])
def test_it_says_where_the_search_found_nothing_better(broken, capsys, is_same):
    change_headline(same_hyperparameters=is_same)
    assert _cli.run(summary.main, []) == 0
    assert ("The tuned network equals the baseline" in capsys.readouterr().out) == is_same


def change_headline(**changes):
    """Set fields of the headline of the cohort sample, or of its promotion."""
    path = Path("reports/headlines/sample.json")
    found = json.loads(path.read_text())
    for name, value in changes.items():
        (found["promotion"] if name in found["promotion"] else found)[name] = value
    path.write_text(json.dumps(found))


def test_without_results_it_says_how_to_make_them(broken, capsys):
    Path("reports/headlines/sample.json").unlink()
    assert _cli.run(summary.main, []) == 1
    assert "dvc repro" in capsys.readouterr().err


def test_the_registry_is_asked_who_holds_staging_now(workspace, tmp_path, capsys):
    folder = ws.copy_with_store(workspace, tmp_path / "copy")
    with ws.inside(folder):
        promotion = json.loads(Path("reports/sample/promotion.json").read_text())
        assert _cli.run(summary.main, []) == 0
        assert "staging now" not in capsys.readouterr().out
        name = promotion["registered_model"]
        tracking.client().delete_registered_model_alias(name, "staging")
        assert _cli.run(summary.main, []) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert f"no version has staging now, and version {promotion['version']} had it when" in said


def test_where_the_registry_cannot_be_asked_the_results_are_still_printed(broken, capsys, monkeypatch):
    Path("mlflow.db").unlink()
    assert _cli.run(summary.main, []) == 0
    assert f"there is no tracking store {broken}/mlflow.db" in " ".join(capsys.readouterr().out.split())
    assert not Path("mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert _cli.run(summary.main, []) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "the registry cannot tell which version has staging now: "
        "The tracking store http://127.0.0.1:9 does not answer" in said
    )
