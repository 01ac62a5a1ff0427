from pathlib import Path

import pandas as pd

from melanoma.data.checks.facts import FACT_DTYPES
from tests.pipelines.workspace import change_params, run_stage


def test_every_image_has_its_facts_and_the_truncated_one_says_so(workspace):
    facts = pd.read_parquet(workspace / "data/facts/sample.parquet")
    broken = facts[~facts["decodes"]]
    assert len(facts) == 72
    assert len(broken) == 1
    assert "cannot be decoded completely" in broken["problem"].iloc[0]
    assert broken["is_truncated"].all()
    assert {name: str(dtype) for name, dtype in facts.dtypes.items()} == FACT_DTYPES


def test_with_two_processes_the_facts_are_the_same(broken):
    alone = pd.read_parquet("data/facts/sample.parquet")
    change_params(Path("params.yaml"), execution={"num_workers": 2})
    assert run_stage("inspect") == 0
    pd.testing.assert_frame_equal(pd.read_parquet("data/facts/sample.parquet"), alone)


def test_a_file_that_vanished_becomes_a_row_that_says_so(broken):
    Path("data/raw/sample/images/SYN_00003.jpg").unlink()
    assert run_stage("inspect") == 0
    facts = pd.read_parquet("data/facts/sample.parquet").set_index("image_id")
    assert "cannot be read" in str(facts.loc["SYN_00003", "problem"])


def test_missing_records_are_refused_with_how_to_make_them(broken, capsys):
    Path("data/records/sample.parquet").unlink()
    assert run_stage("inspect") == 1
    assert "data/records/sample.parquet does not exist" in capsys.readouterr().err
