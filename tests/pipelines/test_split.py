import json
from pathlib import Path

import pandas as pd
import pytest

from melanoma import schema
from melanoma.evaluation import power
from melanoma.evaluation.intervals import effective_groups
from tests.pipelines.workspace import change_params, run_stage


def test_splits_have_the_agreed_columns_and_no_group_crosses(workspace):
    splits = pd.read_csv(workspace / "data/splits/sample.csv")
    assert tuple(splits.columns) == schema.SPLIT_COLUMNS
    assert splits.groupby("group_id")["split"].nunique().max() == 1
    assert set(splits["split"]) == set(schema.SPLITS)


def test_the_planted_near_duplicate_lies_with_its_original(workspace):
    metadata = pd.read_csv(workspace / "data/raw/sample/metadata.csv").set_index("planted_fault")
    report = json.loads((workspace / "reports/sample/split.json").read_text())
    copy = str(metadata.loc["near_duplicate", "image_id"])
    (group,) = [group for group in report["groups_of_several"] if copy in group["image_ids"]]
    assert "near duplicate" in group["reasons"]


def test_the_report_counts_classes_and_holds_the_checks(workspace):
    report = json.loads((workspace / "reports/sample/split.json").read_text())
    splits = pd.read_csv(workspace / "data/splits/sample.csv")
    assert report["is_synthetic"] is True
    assert report["failures"] == report["withheld"] == []
    assert len(report["checks"]) > 3
    assert all(check["is_passed"] for check in report["checks"] if check["severity"] == "critical")
    measures = {entry["measure"] for entry in report["balance"]["measures"]}
    assert {"in a group of several images", "positive", "female", "age (years)"} <= measures
    for name, counts in report["splits"].items():
        rows = splits[splits["split"] == name]
        assert counts["num_images"] == len(rows)
        assert counts["num_malignant"] == rows["target"].sum()
        assert counts["num_groups"] == rows["group_id"].nunique()
    tested = splits[splits["split"] == "test"]
    ids = [tested.loc[tested["target"] == label, "group_id"].to_numpy() for label in (1, 0)]
    assert report["expected"] == pytest.approx(power.expect(*map(effective_groups, ids)))
    assert (workspace / "reports/sample/split-docs/index.html").is_file()


def test_the_same_assignment_gives_the_same_bytes(broken):
    before = Path("data/splits/sample.csv").read_bytes()
    assert run_stage("split") == 0
    assert Path("data/splits/sample.csv").read_bytes() == before


def test_splits_that_fail_a_check_are_reported_and_not_written(broken, capsys):
    Path("data/splits/sample.csv").unlink()
    change_params(broken / "params.yaml", split={"max_prevalence_deviation": 0.0})
    assert run_stage("split") == 1
    message = capsys.readouterr().err
    assert "The splits of cohort 'sample' fail" in message
    assert "See reports/sample/split.json" in message
    report = json.loads(Path("reports/sample/split.json").read_text())
    assert report["failures"]
    assert not all(check["is_passed"] for check in report["checks"])
    assert Path("reports/sample/split-docs/index.html").is_file()
    assert not Path("data/splits/sample.csv").exists()


def keep(broken, rows) -> None:
    accepted = pd.read_parquet("data/accepted/sample.parquet")
    accepted[rows(accepted)].to_parquet("data/accepted/sample.parquet", index=False)
    Path("data/splits/sample.csv").unlink()


def test_a_cohort_of_one_class_is_refused(broken, capsys):
    keep(broken, lambda rows: rows["target"] == 0)
    assert run_stage("split") == 1
    assert "Cohort 'sample' has one class only (target 0" in capsys.readouterr().err
    assert not Path("data/splits/sample.csv").exists()


def test_an_empty_cohort_is_refused(broken, capsys):
    keep(broken, lambda rows: rows["target"] > 1)
    assert run_stage("split") == 1
    assert "Cohort 'sample' is empty" in capsys.readouterr().err


def test_too_few_groups_for_three_splits_are_refused(broken, capsys):
    keep(broken, lambda rows: (rows["target"] == 0) | (rows["target"].cumsum() <= 2))
    assert run_stage("split") == 1
    assert "too few groups for three splits" in capsys.readouterr().err


def test_accepted_images_without_a_split_are_refused(broken, capsys):
    assigned = pd.read_csv("data/groups/assigned.csv", dtype="string")
    assigned[1:].to_csv("data/groups/assigned.csv", index=False)
    assert run_stage("split") == 1
    message = capsys.readouterr().err
    assert (
        f"1 accepted images have no split yet: {assigned['image_id'][0]}. Run `dvc repro assign`" in message
    )
