import json
from pathlib import Path

from tests.pipelines.workspace import run_stage


def test_the_published_figures_are_written_with_their_checks(at_workspace):
    written = json.loads(Path("reports/study/results/paper.json").read_text())
    assert written["published"]["table_2"]["ph2"]["accuracy"] == 0.925
    assert {entry["agrees"] for entry in written["checks"]} == {True, False}
    assert written["fitting_counts"]["joint"] == []
    assert written["stated_counts"]["ph2"]["exchanged"]["counts"] == [
        written["published"]["confusion"]["ph2"]
    ]


def test_one_line_says_how_many_agree(broken, capsys):
    assert run_stage("paper") == 0
    assert "[paper] 14 of 36 published figures agree" in capsys.readouterr().out
