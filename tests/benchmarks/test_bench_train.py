import json
import subprocess
import sys

import pytest

from tests.benchmarks.contestants import ROOT
from tests.benchmarks.rows import Ratio, Row, Spread, as_json, missed, not_measured, ratios


def test_ratio_is_taken_round_by_round():
    found = ratios([2.0, 9.0, 8.0], [1.0, 3.0, 2.0], to="the other")
    assert (found.median, found.low, found.high) == (3.0, 2.0, 4.0)


def test_target_is_judged_by_the_median():
    rows = [
        Row("part", "low enough", ratio=Ratio(0.5, 0.4, 0.9, at_most=0.5)),
        Row("part", "too low", ratio=Ratio(1.9, 1.0, 2.5, at_least=2)),
        Row("part", "without a target", ratio=Ratio(0.1, 0.1, 0.1)),
        not_measured("part", "absent", "no GPU"),
    ]
    assert [phrase.split(":")[1].strip() for phrase in missed(rows)] == ["too low"]
    assert [(row["ratio"] or {}).get("is_reached") for row in as_json(rows)] == [True, False, None, None]


def test_spread_of_one_value_is_that_value():
    assert Spread.of([2.5]) == Spread(2.5, 2.5, 2.5)


@pytest.mark.slow
def test_quick_run_writes_every_row_of_the_parts_that_were_asked_for(tmp_path):
    out = tmp_path / "train.json"
    command = ("-m", "tests.benchmarks.bench_train", "--quick", "--only", "pack", "growth", "--out", str(out))
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["is_quick"] is True
    assert {"processor", "num_cores", "memory_gib", "load_before", "versions"} <= set(found["machine"])
    assert {row["part"] for row in found["rows"]} == {"pack", "growth"}
    for row in found["rows"]:
        assert row["value"]["low"] <= row["value"]["median"] <= row["value"]["high"], row["name"]
    identical = [row["ratio"] for row in found["rows"] if row["name"].startswith("pixels as the server's")]
    assert identical
    assert all(ratio["is_reached"] for ratio in identical)
