import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from melanoma import tracking
from melanoma.registry import ledger, looks
from tests.pipelines.workspace import change_params, run_stage

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.slow  # trains networks

STAGE = "protocols"
RESULTS = Path("reports/study/results")


def results() -> dict:
    return json.loads((RESULTS / "sample.json").read_text())


def study_runs() -> list:
    store = tracking.client()
    experiment = store.get_experiment_by_name("melanoma-study")
    return store.search_runs([experiment.experiment_id], max_results=100)


def test_every_kind_is_trained_under_both_protocols_on_every_seed(at_workspace):
    assert set(results()["networks"]) == {"conv_blocks_1", "conv_blocks_3"}
    for entry in results()["networks"].values():
        assert set(entry["protocols"]) == {"paper", "leak_free"}
        for found in entry["protocols"].values():
            assert [run["seed"] for run in found["runs"]] == [1, 2]
            assert found["views"]["test"]["auc_roc"]["low"] is not None
            for run in found["runs"]:
                assert 0 <= run["best_val_auc_roc"] <= 1
                assert run["git_commit"]


def test_networks_are_held_against_the_published_one(at_workspace):
    networks = results()["networks"]
    assert networks["conv_blocks_3"]["minus_main"] == {}
    one, three = networks["conv_blocks_1"], networks["conv_blocks_3"]
    for protocol, difference in one["minus_main"].items():
        values = [entry["protocols"][protocol]["views"]["test"]["auc_roc"]["value"] for entry in (one, three)]
        assert difference["auc_roc"]["value"] == pytest.approx(values[0] - values[1])
    assert set(one["minus_main"]) == {"paper", "leak_free"}


def test_it_says_that_the_images_are_synthetic(at_workspace):
    assert results()["is_synthetic"] is True


def test_the_test_of_the_paper_is_balanced_and_leaks_and_ours_does_not(at_workspace):
    paper, ours = (results()["protocols"][name]["test"] for name in ("paper", "leak_free"))
    assert paper["num_malignant"] * 2 == paper["num_images"]
    assert paper["num_with_relative"] > 0
    assert sum(part["num_copies"] for part in results()["protocols"]["paper"].values()) > 0
    assert ours["num_with_relative"] == ours["num_copies"] == 0


def test_the_leak_free_test_is_the_test_of_the_platform(at_workspace):
    predictions = pd.read_parquet("data/study/protocols/sample.parquet")
    tested = predictions[(predictions["protocol"] == "leak_free") & (predictions["view"] == "test")]
    splits = pd.read_csv("data/splits/sample.csv")
    expected = splits.loc[splits["split"] == "test", "image_id"]
    assert set(tested["image_id"]) == set(expected)


def test_each_network_is_one_run_under_one_parent_and_is_found_by_its_protocol(at_workspace):
    runs = study_runs()
    [parent] = [run for run in runs if run.data.tags.get("study") == "paper"]
    children = [run for run in runs if run.data.tags.get("stage") == "protocols"]
    assert len(children) == 2 * 2 * 2
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    store, experiment = tracking.client(), parent.info.experiment_id
    found = store.search_runs([experiment], "tags.protocol = 'leak_free' and tags.stage = 'protocols'")
    assert len(found) == 4
    assert {"test/auc_roc", "selection/auc_roc", "epoch/holdout_loss"} <= set(found[0].data.metrics)
    assert {"learning_rate", "depth", "data_digest"} <= set(found[0].data.params)


def test_each_network_counts_as_a_look_at_the_images_that_it_scored(at_workspace):
    found = ledger.entries("melanoma-sample", kind=ledger.LOOK, purpose="protocols")
    children = {run.info.run_id for run in study_runs() if run.data.tags.get("stage") == "protocols"}
    assert {entry.tags["run_id"] for entry in found} == children
    assert len(found) == len(children)
    splits = pd.read_csv("data/splits/sample.csv")
    seen = looks.earlier(splits.loc[splits["split"] == "test", "image_id"]).looks
    shares = [look.share for look in seen if look.purpose == "protocols"]
    assert shares.count(1.0) == 4  # leak_free; the test sets of the paper hold a part of these images
    assert 0 < min(shares) < 1


def test_history_and_curves_are_of_every_network(at_workspace):
    history = pd.read_csv(RESULTS / "sample_history.csv")
    assert history.groupby(["network", "protocol", "seed"]).size().eq(2).all()
    curves = pd.read_csv(RESULTS / "sample_roc.csv")
    assert curves.groupby(["network", "protocol", "seed"]).ngroups == 8


def test_nothing_is_left_of_checkpoints(at_workspace):
    assert not Path("data/checkpoints/protocols-sample").exists()


def test_a_study_that_is_stopped_goes_on_and_trains_nothing_twice(broken, monkeypatch):
    change_params(
        broken / "params.yaml",
        **{
            "study.protocols": {
                "num_seeds": 1,
                "networks": {"sample": [{"family": "conv_blocks", "depth": 1}]},
            }
        },
    )
    shutil.rmtree("reports/study", ignore_errors=True)
    from melanoma.training import callbacks, fit

    real, begun = fit.train, []

    def stop_at_the_second(*args, **kwargs):
        begun.append(kwargs["seed"])
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(fit, "train", stop_at_the_second)
    assert run_stage("protocols") == 130
    assert not RESULTS.exists()
    statuses = sorted(run.info.status for run in study_runs())
    assert statuses == ["FINISHED", "KILLED", "KILLED"]  # the first network, the second one, the parent
    epochs: list[int] = []
    monkeypatch.setattr(fit, "train", real)
    scoring = callbacks.EpochScores
    monkeypatch.setattr(scoring, "on_epoch_begin", counting(scoring.on_epoch_begin, epochs))
    assert run_stage("protocols") == 0
    assert len(epochs) == 2  # of the second network alone
    assert {run.info.status for run in study_runs()} == {"FINISHED"}
    assert len(study_runs()) == 3
    # The first network was scored again, and counts once.
    assert len(ledger.entries("melanoma-sample", kind=ledger.LOOK, purpose="protocols")) == 2


def counting(method, calls: list):
    def counted(self, epoch, logs=None):
        calls.append(epoch)
        return method(self, epoch, logs)

    return counted


def test_a_cohort_without_networks_is_refused_before_anything_is_trained(broken, capsys):
    networks = {"isic": [{"family": "conv_blocks", "depth": 3}]}
    change_params(broken / "params.yaml", **{"study.protocols": {"networks": networks}})
    assert run_stage("protocols") == 1
    assert "study.cohorts has unknown names ['sample']; expected some of ['isic']" in capsys.readouterr().err
