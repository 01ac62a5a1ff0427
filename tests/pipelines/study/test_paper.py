import json
from pathlib import Path

import pytest

from tests.pipelines import workspace as ws


@pytest.fixture
def empty_folder(tmp_path):
    """The current folder, with nothing but parameters."""
    ws.write_params(tmp_path / "params.yaml", {})
    with ws.inside(tmp_path):
        yield tmp_path


def test_the_published_figures_are_written_with_their_checks(empty_folder, capsys):
    assert ws.run_stage("paper") == 0
    written = json.loads(Path("reports/study/results/paper.json").read_text())
    assert written["published"]["table_2"]["ph2"]["accuracy"] == 0.925
    assert {entry["agrees"] for entry in written["checks"]} == {True, False}
    assert written["fitting_counts"]["joint"] == []
    assert written["stated_counts"]["ph2"]["exchanged"]["counts"] == [
        written["published"]["confusion"]["ph2"]
    ]
    assert "[paper] 14 of 36 published figures agree" in capsys.readouterr().out
