import json
from pathlib import Path

import pandas as pd
import pytest

from melanoma import tracking
from melanoma.evaluation.crossvalidation import FIGURES
from melanoma.registry import looks
from melanoma.stages import published
from melanoma.stages.page import read_headlines
from melanoma.training import fit
from pipelines import _cli, crossvalidate
from tests.pipelines.workspace import change_params

OUT = Path("reports/sample/crossvalidation.json")


def run(*options: str) -> int:
    return _cli.run(crossvalidate.main, ["--cohort", "sample", *options])


def runs_of_command() -> tuple[list, list]:
    """The parent runs of the command, and their children from fold 1 on."""
    store = tracking.client()
    experiment = store.get_experiment_by_name("melanoma-sample")
    found = store.search_runs([experiment.experiment_id], "tags.stage = 'crossvalidate'")
    parents = [run for run in found if "fold" not in run.data.tags]
    children = sorted(
        (run for run in found if "fold" in run.data.tags), key=lambda run: run.data.tags["fold"]
    )
    return parents, children


@pytest.fixture
def small(own):
    """The current folder is a workspace with tiny networks, three folds, two epochs and without any look."""
    change_params(
        own / "params.yaml",
        baseline={"depth": 1, "filters": 2, "dense_units": 2},
        train={"num_epochs": 2},
        crossvalidate={"num_folds": 3},
    )
    return own


def interrupt_after(monkeypatch, num_epochs: int) -> list[int]:
    """Epochs that are trained, in order; training is interrupted once, after `num_epochs` of them."""
    import keras

    seen: list[int] = []
    original = fit.train

    def train(*args, callbacks, **options):
        def note(epoch, logs):
            seen.append(epoch + 1)
            if len(seen) == num_epochs:
                raise KeyboardInterrupt

        noting = keras.callbacks.LambdaCallback(on_epoch_end=note)
        return original(*args, callbacks=[noting, *callbacks], **options)

    monkeypatch.setattr(fit, "train", train)
    return seen


def test_every_image_is_tested_once_and_an_interrupted_run_goes_on_where_it_stopped(
    small, monkeypatch, capsys
):
    index = pd.read_parquet("data/packed/sample/index.parquet")
    num_before = looks.earlier(index["image_id"]).count().num_looks
    epochs = interrupt_after(monkeypatch, 3)
    assert run() == 130
    assert not OUT.exists()
    assert run() == 0
    assert epochs == [1, 2, 1, 2, 1, 2]  # three networks of two epochs, each once
    results = json.loads(OUT.read_text())
    assert sum(fold["num_test_images"] for fold in results["folds"]) == len(index) == results["num_images"]
    assert sum(fold["num_test_malignant"] for fold in results["folds"]) == index["target"].sum()
    assert set(results["means"]) == set(FIGURES)
    values = [fold["auc_roc"] for fold in results["folds"]]
    assert results["means"]["auc_roc"]["value"] == pytest.approx(sum(values) / 3)
    fixed = json.loads(Path("reports/sample/metrics.json").read_text())["baseline"]["test"]["auc_roc"][
        "value"
    ]
    assert results["fixed"]["auc_roc"] == fixed
    assert len(pd.read_csv(OUT.with_suffix(".csv"))) == 3

    (parent,), children = runs_of_command()
    assert parent.info.run_id == results["run_id"]
    assert [child.info.run_id for child in children] == [fold["run_id"] for fold in results["folds"]]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {results["run_id"]}
    assert {child.info.status for child in [parent, *children]} == {"FINISHED"}
    for child, value in zip(children, values, strict=True):
        assert child.data.metrics["crossvalidation/auc_roc"] == value
        assert not tracking.client().search_model_versions(f"run_id = '{child.info.run_id}'")

    found = looks.earlier(index["image_id"])
    mine = [look for look in found.looks if look.purpose == "crossvalidate"]
    assert len(mine) == found.count().num_looks - num_before == 3  # once a fold, though it was resumed
    assert sum(look.share for look in mine) == pytest.approx(1)
    out = capsys.readouterr().out
    assert "fold 3 of 3: AUC" in out
    assert "fixed test side: AUC" in out

    (headline,) = read_headlines(Path("reports/headlines"), ["sample"])
    assert "| cross-validated |" in published.results_table([headline])
    assert ", z " in published.results_table([headline])
    other = headline | {"data_digest": "another"}
    assert "not measured on these images" in published.results_table([other])
    del headline["crossvalidation"]
    assert "cross-validated" not in published.results_table([headline])


def test_too_few_groups_for_the_folds_are_refused_before_anything_is_trained(small, capsys):
    change_params(small / "params.yaml", crossvalidate={"num_folds": 40})
    assert run() == 1
    message = capsys.readouterr().err
    assert "The cohort has" in message
    assert "40 folds need at least 40 groups of each class. Add images, or use fewer folds." in message
    assert runs_of_command() == ([], [])


def test_a_cohort_that_was_not_packed_and_a_search_that_is_missing_are_named(small, capsys):
    Path("reports/sample/tuning.json").unlink()
    assert run("--model", "tuned") == 1
    assert "reports/sample/tuning.json does not exist" in capsys.readouterr().err
    assert _cli.run(crossvalidate.main, ["--cohort", "nothing"]) == 1
    assert "data/packed/nothing" in capsys.readouterr().err
