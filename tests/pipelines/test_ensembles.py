from pathlib import Path

import pytest

from melanoma.stages import ensembles
from pipelines import _cli
from pipelines import ensembles as script
from tests.imports import ROOT


@pytest.fixture
def asked(monkeypatch):
    """What the script asks of the library."""
    seen: list[tuple] = []

    def run(cohort, params, *, model, num_outer, paths):
        seen.append((cohort, model, num_outer, paths))
        return "a line"

    monkeypatch.setattr(ensembles, "run", run)
    monkeypatch.chdir(ROOT)
    return seen


def test_the_tuned_model_is_compared_on_one_outer_fold_of_its_cohort(asked, capsys):
    assert _cli.run(script.main, ["--cohort", "sample"]) == 0
    paths = ensembles.Paths(
        Path("data/packed/sample"), Path("reports/sample/tuning.json"), Path("reports/sample/ensembles.json")
    )
    assert asked == [("sample", "tuned", 1, paths)]
    assert "[ensembles@sample] a line" in capsys.readouterr().out


def test_the_baseline_and_more_outer_folds_can_be_asked_for(asked):
    assert _cli.run(script.main, ["--cohort", "sample", "--model", "baseline", "--outer", "5"]) == 0
    assert asked[0][1:3] == ("baseline", 5)
