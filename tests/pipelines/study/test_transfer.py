import json
from pathlib import Path

import pandas as pd
import pytest

from melanoma import tracking
from tests.pipelines.workspace import change_params, run_stage

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.slow  # trains networks

STAGE = "transfer"
OUT = Path("reports/study/transfer")
ACCEPTED = Path("data/accepted/sample.parquet")


def results() -> dict:
    return json.loads((OUT / "sample.json").read_text())


@pytest.fixture
def two_clinics(broken):
    """The sample's lesions, told to come from two collections; pairs of one patient stay together."""
    records = pd.read_parquet(ACCEPTED)
    is_first = (records["image_id"].str[-4:].astype(int) - 1) // 2 % 2 == 0
    records["source_collection"] = is_first.map({True: "here", False: "there"}).astype("string")
    records.to_parquet(ACCEPTED)
    change_params(
        broken / "params.yaml", **{"study.transfer": {"num_seeds": {"baseline": 2}, "min_groups": 1}}
    )
    return set(records.loc[is_first, "image_id"])


def test_a_cohort_of_one_source_has_none_to_leave_out_and_is_measured_whole(at_workspace):
    found = results()
    assert found["sources"] == []
    assert found["is_synthetic"] is True
    differences = {"tuned_minus_baseline", "tuned_minus_colour", "baseline_minus_colour"}
    assert set(found["test"]) == {"baseline", "tuned", "colour"} | differences
    assert pd.read_csv(OUT / "sample" / "better.csv")["auc_roc"].notna().all()
    assert pd.read_csv(OUT / "sample" / "transfer.csv").empty


def test_each_source_is_left_out_and_tested_by_networks_that_never_saw_it(two_clinics, capsys):
    assert run_stage("transfer") == 0
    found = results()
    assert [row["source"] for row in found["sources"]] == ["here", "there"]
    here = found["sources"][0]
    assert here["num_images"] + found["sources"][1]["num_images"] == len(
        pd.read_parquet("data/packed/sample/index.parquet")
    )
    assert here["networks"]["baseline"]["unseen"]["low"] is not None
    assert here["networks"]["baseline"]["gap"]["value"] is not None
    scored = pd.read_parquet("data/study/transfer/sample.parquet")
    assert scored.groupby(["left_out", "seed"]).ngroups == 3 * 2
    assert set(scored.loc[scored["left_out"] == "collection here", "image_id"]) <= two_clinics
    captions = json.loads((OUT / "sample" / "captions.json").read_text())
    assert set(captions) == {"better.csv", "transfer.csv", "transfer.png"}
    out = capsys.readouterr().out
    assert "6 of 6: " in out
    assert "baseline, collection there left out seed 2, AUC" in out
    store = tracking.client()
    experiment = store.get_experiment_by_name("melanoma-study").experiment_id
    runs = store.search_runs(
        [experiment], "tags.protocol = 'leave_one_source_out' and tags.source = 'here' and tags.seed = '2'"
    )
    assert len(runs) == 1
    assert "unseen/auc_roc" in runs[0].data.metrics
    assert not Path("data/checkpoints/transfer-sample").exists()


def test_a_transfer_that_is_stopped_goes_on_and_trains_nothing_twice(two_clinics, monkeypatch):
    from melanoma.training import callbacks, fit

    real, begun = fit.train, []

    def stop_at_the_second(*args, **kwargs):
        begun.append(kwargs["seed"])
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(fit, "train", stop_at_the_second)
    change_params(Path("params.yaml"), **{"study.transfer": {"num_seeds": {"baseline": 1}}})
    assert run_stage("transfer") == 130
    epochs: list[int] = []

    def counted(self, epoch, logs=None):
        epochs.append(epoch)
        return begin(self, epoch, logs)

    begin = callbacks.EpochScores.on_epoch_begin
    monkeypatch.setattr(fit, "train", real)
    monkeypatch.setattr(callbacks.EpochScores, "on_epoch_begin", counted)
    assert run_stage("transfer") == 0
    assert len(epochs) == 2  # of the second and the third network alone
    assert [run["num_epochs"] for run in results()["runs"]] == [1, 1, 1]


def name_collections(first: str, second: str) -> None:
    records = pd.read_parquet(ACCEPTED)
    records["source_collection"] = records["source_collection"].map({"here": first, "there": second})
    # As the archive has them: some images name none.
    records.loc[records.index % 5 == 0, "source_collection"] = pd.NA
    records.astype({"source_collection": "string"}).to_parquet(ACCEPTED)


def test_whatever_collections_are_called_they_are_left_out_and_nothing_leads_elsewhere(two_clinics):
    hostile = "x/../../../../escaped/y"
    name_collections(hostile, "nothing")
    before = {path for path in Path().rglob("*") if "checkpoints" not in path.parts}
    change_params(Path("params.yaml"), **{"study.transfer": {"num_seeds": {"baseline": 1}}})
    assert run_stage("transfer") == 0
    assert [row["source"] for row in results()["sources"]] == ["nothing", hostile]
    scored = pd.read_parquet("data/study/transfer/sample.parquet")
    assert set(scored["left_out"]) == {"nothing", "collection nothing", f"collection {hostile}"}
    made = {path for path in Path().rglob("*") if "checkpoints" not in path.parts} - before
    assert not [path for path in made if "escaped" in path.parts]
    assert not Path("data/checkpoints/transfer-sample").exists()


def test_a_search_of_another_shape_is_named_before_anything_is_trained(two_clinics, capsys):
    tuning = Path("reports/sample/tuning.json")
    content = json.loads(tuning.read_text())
    for best, complaint in (
        ({}, "lacks 'hyperparameters'"),
        ({"hyperparameters": {"depth": 1}}, "does not fit"),
    ):
        tuning.write_text(json.dumps(content | {"best": best}))
        assert run_stage("transfer") == 1
        captured = capsys.readouterr()
        assert f"tuning.json {complaint}" in captured.err
        assert "1 of" not in captured.out
