import os
import shutil

import pytest
from dvc.utils.hydra import apply_overrides

from melanoma import config
from pipelines import _cli, _search
from tests.imports import ROOT


@pytest.fixture
def started(tmp_path, monkeypatch):
    """The words of the command that takes the place of the script."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    words: list[str] = []
    monkeypatch.setattr(os, "execvp", lambda name, given: words.extend(given))
    return words


@pytest.mark.parametrize(("cohort", "datasets"), [("ph2", ["ph2"]), ("joint", ["isic", "ph2"])])
def test_a_wide_search_is_an_experiment_on_the_datasets_of_its_cohort(started, tmp_path, cohort, datasets):
    _cli.run(_search.main, ["--cohort", cohort])
    assert started[:3] == ["dvc", "exp", "run"]
    apply_overrides(tmp_path / "params.yaml", started[4::2])
    params = config.load(tmp_path / "params.yaml")
    assert params.tune.wide
    assert (params.run.cohorts, params.run.datasets) == ([cohort], datasets)
    assert params.starts.backbone is not None
    assert (params.train.ensemble, params.train.num_networks) == ("folds", 4)


def test_an_unknown_cohort_is_refused_before_anything_runs(started, capsys):
    assert _cli.run(_search.main, ["--cohort", "moon"]) == 1
    assert "unknown cohort 'moon'" in capsys.readouterr().err
    assert started == []
