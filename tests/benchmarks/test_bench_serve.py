import json
import subprocess
import sys

import pytest

from tests.benchmarks.contestants import ROOT


@pytest.mark.slow
def test_quick_run_writes_every_row(tmp_path):
    out = tmp_path / "serve.json"
    command = ("-m", "tests.benchmarks.bench_serve", "--quick", "--out", str(out))
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["is_quick"] is True
    assert [row["part"] for row in found["rows"]] == [
        *["start"] * 6,
        *["one"] * 4,
        *["cut"] * 2,
        *["batch"] * 4,
        *["clients"] * 2,
        *["attacks"] * 2,
        "many",
        *["views"] * 3,
    ]
    assert all(row["value"]["median"] > 0 for row in found["rows"])
    compared = {row["part"] for row in found["rows"] if row["ratio"]}
    assert compared == {"start", "one", "cut", "batch", "attacks", "many", "views"}
