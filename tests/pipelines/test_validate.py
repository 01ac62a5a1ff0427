import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from melanoma import tracking
from melanoma.config.data import ImageChecks
from tests.pipelines.workspace import change_params, run_stage

REASON_OF_FAULT = {
    "blurred": "blurred",
    "truncated": "truncated",
    "blank_label": "label_missing",
    "too_small": "too_small",
    "duplicate": "repeated_file",
}


def read_report(folder: Path = Path()) -> dict:
    return json.loads((folder / "reports/validation/sample.json").read_text())


def run_of_report(folder: Path = Path()):
    """The run that the report names, and the store that has it."""
    store = MlflowClient(f"sqlite:///{folder.resolve()}/mlflow.db")
    return store.get_run(read_report(folder)["run_id"]), store


def test_the_planted_faults_are_quarantined_each_for_its_reason(workspace):
    metadata = pd.read_csv(workspace / "data/raw/sample/metadata.csv").set_index("planted_fault")
    report = read_report(workspace)
    for fault, reason in REASON_OF_FAULT.items():
        assert report["quarantined"][metadata.loc[fault, "image_id"]][0] == reason
    assert report["num_quarantined"] == len(REASON_OF_FAULT)
    assert metadata.loc["near_duplicate", "image_id"] not in report["quarantined"]


def test_accepted_and_quarantined_rows_are_all_rows(workspace):
    accepted = pd.read_parquet(workspace / "data/accepted/sample.parquet")
    quarantined = pd.read_csv(workspace / "data/quarantine/sample.csv")
    records = pd.read_parquet(workspace / "data/records/sample.parquet")
    assert sorted([*accepted["image_id"], *quarantined["image_id"]]) == sorted(records["image_id"])


def test_the_data_docs_are_there_and_name_what_failed(workspace):
    index = (workspace / "reports/validation/sample-docs/index.html").read_text()
    assert "Validation of sample" in index
    assert "SYNTHETIC" in index
    for image_id in read_report(workspace)["quarantined"]:
        assert image_id in index


def test_the_contact_sheet_shows_one_group_for_each_reason(workspace):
    sheet = np.asarray(Image.open(workspace / "reports/validation/sample-quarantine.png"))
    assert sheet.shape[0] > len(REASON_OF_FAULT) * 128


def test_the_run_holds_counts_report_table_sheet_and_docs(workspace):
    run, store = run_of_report(workspace)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "validate-sample"
    assert store.get_experiment(run.info.experiment_id).name == "melanoma-data"
    assert run.data.tags["dataset"] == "sample"
    assert run.data.tags["is_synthetic"] == "true"
    assert "git_commit" in run.data.tags
    assert run.data.metrics["data/num_quarantined"] == len(REASON_OF_FAULT)
    assert run.data.metrics["data/num_failing/blurred"] == 1
    assert run.data.metrics["data/num_accepted"] == read_report(workspace)["num_accepted"]
    names = {file.path for file in store.list_artifacts(run.info.run_id)}
    assert names == {"sample.json", "sample.csv", "sample-quarantine.png", "data_docs"}
    docs = {file.path for file in store.list_artifacts(run.info.run_id, "data_docs")}
    assert docs == {"data_docs/index.html", "data_docs/validations", "data_docs/expectations"}


@pytest.fixture
def refused(broken, capsys):
    """A dataset that is too small was judged here; what was said about it."""
    Path("data/accepted/sample.parquet").unlink()
    change_params(broken / "params.yaml", validate={"min_images": 1000})
    assert run_stage("validate") == 1
    return capsys.readouterr().err


def test_a_critical_failure_stops_the_graph_and_leaves_no_accepted_rows(refused):
    assert re.search(r"enough_images: observed 67, expected at least 1000 accepted images", refused)
    assert not Path("data/accepted/sample.parquet").exists()
    assert read_report()["failures"]


def test_the_run_of_a_critical_failure_is_failed_and_holds_the_report(refused, tmp_path):
    run, _ = run_of_report()
    assert run.info.status == "FAILED"
    assert "enough_images" in run.data.tags["error"]
    kept = tracking.download_run_file(run.info.run_id, "sample.json", tmp_path / "kept")
    assert json.loads(kept.read_text()) == read_report()
    assert (tracking.download_run_file(run.info.run_id, "data_docs", tmp_path / "d") / "index.html").is_file()


def test_the_same_table_within_the_limit_passes(broken):
    change_params(broken / "params.yaml", validate={"min_images": 67})
    assert run_stage("validate") == 0


def test_a_warning_stands_in_the_line_that_is_printed_and_takes_nothing_out(broken, capsys):
    severities = dict.fromkeys(ImageChecks.model_fields, "quarantine") | {"blurred": "warn"}
    change_params(broken / "params.yaml", validate={"min_sharpness": 1e6, "image_checks": severities})
    assert run_stage("validate") == 0
    assert re.search(r"\d+ warnings \(\d+ blurred", capsys.readouterr().out)
    assert read_report()["num_accepted"] > len(REASON_OF_FAULT)
