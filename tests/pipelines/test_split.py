import json
from pathlib import Path

import pandas as pd

from melanoma import schema
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


def test_the_same_seed_gives_the_same_bytes(broken):
    before = Path("data/splits/sample.csv").read_bytes()
    assert run_stage("split") == 0
    assert Path("data/splits/sample.csv").read_bytes() == before
    change_params(broken / "params.yaml", split={"seed": 8})
    assert run_stage("split") == 0
    assert Path("data/splits/sample.csv").read_bytes() != before


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


def test_copies_with_unlike_labels_are_refused_with_both_files(broken, capsys):
    metadata = pd.read_csv("data/raw/sample/metadata.csv").set_index("planted_fault")
    copy = str(metadata.loc["near_duplicate", "image_id"])
    accepted = pd.read_parquet("data/accepted/sample.parquet")
    is_copy = accepted["image_id"] == copy
    accepted.loc[is_copy, "target"] = 1 - accepted.loc[is_copy, "target"]
    accepted.to_parquet("data/accepted/sample.parquet", index=False)
    assert run_stage("split") == 1
    message = capsys.readouterr().err
    assert f"data/raw/sample/images/{copy}.jpg" in message
    assert message.count("data/raw/sample/images/") == 2
