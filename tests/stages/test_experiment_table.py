"""The table of experiments in a real repository of DVC with stages that take no time."""

import json
import os
import subprocess

import pytest

from pipelines import _cli, _experiments

SCORES = {
    "selection_auc_roc": 0.7864,
    "test_auc_roc": 0.94,
    "test_sensitivity": 1.0,
    "test_specificity": 0.2059,
    "test_auc_roc_baseline": None,
}
GRAPH = """
stages:
  evaluate:
    foreach: [ph2, isic]
    do:
      cmd: mkdir -p reports/${item} && cp scores.json reports/${item}/scores.json
      params: [baseline, tune]
      metrics: ["reports/${item}/scores.json"]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The current folder is a repository whose pipeline has not run; the table may have 160 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    (tmp_path / "params.yaml").write_text(
        "baseline: {learning_rate: 0.0005, depth: 3}\ntune: {num_trials: 22}\n"
    )
    (tmp_path / "scores.json").write_text(json.dumps(SCORES))
    run("git", "init", "-q", "-b", "main")
    run("dvc", "init", "-q")
    commit()
    return tmp_path


def run(*words):
    who = {f"GIT_{who}_{what}": "somebody@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(words, env=os.environ | who, capture_output=True, check=True)


def commit():
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "x")


def shown(capsys) -> list[list[str]]:
    """The words of each line that `make experiments` prints."""
    assert _cli.run(_experiments.main, []) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 160
    return [line.split() for line in text.splitlines() if line.strip()]


def test_before_the_first_run_it_says_how_to_get_scores_and_experiments(project, capsys):
    lines = shown(capsys)
    for name in ("workspace", "main"):
        assert [name, *"------", "0.0005", "3", "22"] in lines
    assert [line[:2] for line in lines[-2:]] == [["No", "scores"], ["No", "experiments"]]


def test_each_experiment_has_its_scores_beside_its_parameters_by_cohort(project, capsys):
    run("dvc", "repro")
    commit()
    run("dvc", "exp", "run", "-n", "two-blocks", "-S", "baseline.depth=2")
    lines = shown(capsys)
    scores = ["0.786", "0.94", "1", "0.206", "-"]
    for cohort in ("ph2", "isic"):
        assert ["main", cohort, *scores, "0.0005", "3", "22"] in lines
        assert ["two-blocks", cohort, *scores, "0.0005", "2", "22"] in lines
    assert not [line for line in lines if line[0] == "No"]


def test_without_git_it_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("dvc", "init", "-q", "--no-scm")
    assert _cli.run(_experiments.main, []) == 1
    assert "DVC cannot read the experiments" in capsys.readouterr().err
