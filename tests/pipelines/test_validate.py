import json
from pathlib import Path

import pandas as pd

from tests.pipelines.workspace import change_params, run_stage


def test_the_planted_faults_are_quarantined_each_for_its_reason(workspace):
    metadata = pd.read_csv(workspace / "data/raw/sample/metadata.csv").set_index("planted_fault")
    report = json.loads((workspace / "reports/validation/sample.json").read_text())
    reason_of_fault = {
        "blurred": "blurred",
        "truncated": "unreadable",
        "blank_label": "label_missing",
        "too_small": "too_narrow",
        "duplicate": "repeated_file",
    }
    for fault, reason in reason_of_fault.items():
        assert reason in report["quarantined"][metadata.loc[fault, "image_id"]]
    assert report["num_quarantined"] == len(reason_of_fault)
    assert metadata.loc["near_duplicate", "image_id"] not in report["quarantined"]


def test_accepted_and_quarantined_rows_are_all_rows(workspace):
    accepted = pd.read_parquet(workspace / "data/accepted/sample.parquet")
    quarantined = pd.read_csv(workspace / "data/quarantine/sample.csv")
    records = pd.read_parquet(workspace / "data/records/sample.parquet")
    assert sorted([*accepted["image_id"], *quarantined["image_id"]]) == sorted(records["image_id"])


def test_the_data_docs_can_be_opened(workspace):
    assert "html" in (workspace / "reports/validation/sample-docs/index.html").read_text()[:500].lower()


def test_a_critical_failure_stops_the_graph_and_leaves_no_accepted_rows(broken, capsys):
    Path("data/accepted/sample.parquet").unlink()
    change_params(broken / "params.yaml", validate={"min_images": 1000})
    assert run_stage("validate") == 1
    assert "enough_images: observed 67" in capsys.readouterr().err
    assert not Path("data/accepted/sample.parquet").exists()
    assert json.loads(Path("reports/validation/sample.json").read_text())["failures"]


def test_the_same_table_within_the_limit_passes(broken):
    change_params(broken / "params.yaml", validate={"min_images": 67})
    assert run_stage("validate") == 0
