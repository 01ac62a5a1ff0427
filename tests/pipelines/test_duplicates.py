import json
from pathlib import Path

import pandas as pd

from tests.pipelines.workspace import run_stage


def planted(workspace: Path, fault: str) -> str:
    metadata = pd.read_csv(workspace / "data/raw/sample/metadata.csv").set_index("planted_fault")
    return str(metadata.loc[fault, "image_id"])


def test_both_planted_copies_are_found_also_the_one_that_was_quarantined(workspace):
    pairs = pd.read_csv(workspace / "data/groups/duplicates.csv").set_index("other_image_id")
    assert len(pairs) == 2
    same, near = planted(workspace, "duplicate"), planted(workspace, "near_duplicate")
    assert pairs.loc[same, "reason"] == "same bytes"
    assert pairs.loc[near, "reason"] == "near duplicate"
    quarantined = pd.read_csv(workspace / "data/quarantine/sample.csv")
    assert same in set(quarantined["image_id"])


def test_the_report_names_every_pair_with_datasets_and_measures(workspace):
    report = json.loads((workspace / "reports/duplicates.json").read_text())
    assert report["num_pairs"] == len(report["pairs"]) == 2
    assert report["num_pairs_by_reason"] == {"same bytes": 1, "same pixels": 0, "near duplicate": 1}
    assert set(report["pairs"][0]) == {"images", "datasets", "reason", "distance", "correlation"}
    assert report["pairs"][0]["datasets"] == ["sample", "sample"]


def test_the_same_facts_give_the_same_bytes_and_one_line(broken, capsys):
    before = [Path(name).read_bytes() for name in ("data/groups/duplicates.csv", "reports/duplicates.json")]
    assert run_stage("duplicates") == 0
    after = [Path(name).read_bytes() for name in ("data/groups/duplicates.csv", "reports/duplicates.json")]
    assert after == before
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "[duplicates] 2 pairs of copies among 71 readable images (1 same bytes, 0 same pixels"
    )


def test_missing_facts_are_refused(broken, capsys):
    Path("data/facts/sample.parquet").unlink()
    assert run_stage("duplicates") == 1
    assert "data/facts/sample.parquet does not exist" in capsys.readouterr().err
