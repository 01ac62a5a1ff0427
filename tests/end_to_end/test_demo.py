"""What a newcomer does, with the real commands: repro, look, serve."""

import json
import subprocess

import pandas as pd
import pytest

from tests.end_to_end.clone import make_clone, report, run, score, staging_server
from tests.pipelines.workspace import SMALL, STAGE_ORDER

pytestmark = pytest.mark.slow


def stages_run(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def test_repro_runs_every_stage_once_and_says_one_line_for_each(demo):
    output = (demo.parent / "demo.log").read_text()
    ran = [name.split("@")[0] for name in stages_run(output)]
    assert sorted(ran) == sorted(["code", *STAGE_ORDER])
    assert (ran[0], ran[-1]) == ("code", "page")
    for stage in STAGE_ORDER:
        assert f"\n[{stage}" in output


def test_it_ends_with_a_promoted_model(demo):
    assert report(demo, "sample/promotion")["is_promoted"]
    for name in ("validation/sample", "sample/tuning", "sample/metrics"):
        assert report(demo, name)["is_synthetic"] is True


def test_all_of_it_stands_on_the_page(demo):
    page = (demo / "reports/index.html").read_text(encoding="utf-8")
    assert "melanoma-sample version 1 passed the gates" in page
    assert "What is not here" not in page


def test_nothing_is_left_that_git_should_not_see(demo):
    status = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=demo, capture_output=True, text=True, check=True
    )
    untracked = {line[3:] for line in status.stdout.splitlines()}
    assert untracked <= {"dvc.lock"}


def test_metrics_and_plots_can_be_shown(demo_copy):
    shown = run(demo_copy, "dvc", "metrics", "show", "--json")
    assert set(json.loads(shown)[""]["data"]) == {"reports/sample/scores.json"}
    page = run(demo_copy, "dvc", "plots", "show").strip().splitlines()[-1]
    assert "index.html" in page
    html = (demo_copy / "dvc_plots/index.html").read_text()
    assert "ROC curve" in html
    assert "Confusion matrix" in html


def test_the_staging_server_answers_a_jpeg_as_the_report_says(demo_copy):
    name = report(demo_copy, "sample/promotion")["model"]
    predictions = pd.read_csv(demo_copy / "reports/sample/predictions.csv")
    expected = predictions[predictions["model"] == name].head(12)
    images = [
        (demo_copy / f"data/raw/sample/images/{name}.jpg").read_bytes() for name in expected["image_id"]
    ]
    with staging_server(demo_copy, "sample") as url:
        answer = score(url, images)
        refusal = score(url, [images[0], b"no picture"])
        again = score(url, images[:1])
    rows = answer.json()["predictions"]
    for row, probability, decision in zip(rows, expected["probability"], expected["decision"], strict=True):
        assert abs(row["probability"] - probability) < 1e-5
        assert row["decision"] == decision
        assert row["model_version"] == str(report(demo_copy, "sample/promotion")["version"])
    assert refusal.status_code == 400
    assert "row 1: the bytes are not a JPEG" in refusal.text
    assert "Traceback" not in refusal.text
    assert again.json()["predictions"][0] == rows[0]


def test_a_dataset_that_was_never_fetched_stops_repro_with_how_to_get_it(tmp_path):
    clone = make_clone(tmp_path / "clone", SMALL | {"run": {"datasets": ["ph2"], "cohorts": ["ph2"]}})
    output = run(clone, "dvc", "repro", exit_code=255)
    assert "error: data/raw/ph2 does not exist" in output
    assert "python -m pipelines.fetch" in output
    assert "Traceback" not in output
    assert not (clone / "data/records/ph2.parquet").exists()


def test_an_unknown_parameter_stops_everything_with_its_name(demo_copy, tmp_path):
    bad = tmp_path / "params.yaml"
    bad.write_text((demo_copy / "params.yaml").read_text().replace("batch_size: 32", "batch_sise: 32"))
    output = run(demo_copy, "python", "-m", "pipelines.ingest", "--params", str(bad), exit_code=2)
    assert "--dataset" in output
    arguments = ["--dataset", "sample", "--raw", "data/raw/sample", "--out", str(tmp_path / "out.parquet")]
    output = run(demo_copy, "python", "-m", "pipelines.ingest", "--params", str(bad), *arguments, exit_code=1)
    assert "baseline.batch_sise: unknown key" in output
    assert "baseline.batch_size: missing" in output
    assert "Traceback" not in output
    assert not (tmp_path / "out.parquet").exists()
