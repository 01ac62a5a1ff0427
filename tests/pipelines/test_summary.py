import json
from pathlib import Path

from melanoma import tracking
from pipelines import _cli, summary
from tests.pipelines import workspace as ws


def test_it_prints_results_with_intervals_and_where_to_look(at_workspace, capsys):
    assert _cli.run(summary.main, []) == 0
    text = capsys.readouterr().out
    metrics = json.loads(Path("reports/sample/metrics.json").read_text())
    entry = metrics["baseline"]["test"]["auc_roc"]
    assert f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})" in text
    seeds = json.loads(Path("reports/sample/seeds.json").read_text())
    for model in ("baseline", "tuned"):
        score = seeds[model]["val_auc_roc"]
        assert f"{model} {score['mean']:.3f} (standard deviation {score['standard_deviation']:.3f})" in text
    point = json.loads(Path("reports/sample/models.json").read_text())[metrics["selected"]]["operating_point"]
    assert f"chosen on validation: {point['threshold']:.3f}" in text
    assert f"benign below {point['refer_from']:.3f}, malignant from {point['refer_to']:.3f}, refer" in text
    assert all(f"warning: {warning}" in text for warning in point["evidence"]["warnings"])
    assert "SYNTHETIC" in text
    assert "not a medical device" in " ".join(text.split())
    assert "make serve COHORT=sample" in text
    assert "holds the alias staging" in text
    assert text.rstrip().endswith("reports/index.html")


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
        assert f"no version holds staging now, not version {promotion['version']} of these results" in said


def test_where_the_registry_cannot_be_asked_the_results_are_still_printed(broken, capsys, monkeypatch):
    Path("mlflow.db").unlink()
    assert _cli.run(summary.main, []) == 0
    assert f"there is no tracking store {broken}/mlflow.db" in " ".join(capsys.readouterr().out.split())
    assert not Path("mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert _cli.run(summary.main, []) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "the registry cannot tell which version holds staging now: "
        "The tracking store http://127.0.0.1:9 does not answer" in said
    )
