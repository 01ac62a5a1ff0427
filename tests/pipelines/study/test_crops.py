import json
from pathlib import Path

import pandas as pd
import pytest

from melanoma import files, tracking
from melanoma.files import read_json
from tests.pipelines.workspace import change_params, run_stage

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.slow  # trains networks

STAGE = "crops"
RESULTS, FOLDER = Path("reports/study/crops/sample.json"), Path("reports/study/crops/sample")
PREDICTIONS = Path("data/study/crops/sample.parquet")


def test_every_network_scores_the_same_test_images(at_workspace):
    predictions = files.read_parquet(PREDICTIONS)
    split = pd.read_csv("data/splits/sample.csv")
    test = split.loc[split["split"] == "test", "image_id"].tolist()
    networks = predictions.groupby(["crop", "seed"])["image_id"].apply(list).to_dict()
    assert networks == {(crop, seed): test for crop in ("mask", "none") for seed in (1, 2)}
    assert predictions["probability"].between(0, 1).all()


def test_the_results_say_what_was_compared_and_what_was_not(at_workspace):
    results = read_json(RESULTS)
    assert list(results["crops"]) == ["none", "mask"]
    assert results["not_compared"] == ["unet"]  # segment.train is false
    assert results["seeds"] == [1, 2]
    assert results["is_synthetic"] is True
    assert len({entry["data_digest"] for entry in results["crops"].values()}) == 2
    assert len(results["in_words"]) == 1
    lead = results["crops"]["mask"]["minus_none"]["auc_roc"]
    assert set(lead) - {"undefined"} == {"value", "low", "high", "standard_error", "by_seed"}


def test_each_network_has_its_run_under_one_parent_and_can_be_searched(at_workspace):
    results = read_json(RESULTS)
    runs = [tracking.read_run(run["run_id"]) for entry in results["crops"].values() for run in entry["runs"]]
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["crop"] for run in runs} == {"none", "mask"}
    assert {run.data.tags["protocol"] for run in runs} == {"leak_free"}
    assert len({run.data.tags["mlflow.parentRunId"] for run in runs}) == 1
    assert all("test/auc_roc" in run.data.metrics for run in runs)
    assert not list(Path("data/checkpoints").glob("crops-*"))


def test_tables_and_figure_have_captions_that_call_synthetic_images_so(at_workspace):
    captions = json.loads((FOLDER / "captions.json").read_text())
    assert set(captions) == {"crops.csv", "crops.png"}
    assert {path.name for path in FOLDER.iterdir()} == {*captions, "captions.json"}
    assert all("SYNTHETIC" in said["caption"] for said in captions.values())
    table = pd.read_csv(FOLDER / "crops.csv")
    assert table["crop"].tolist() == ["none", "mask"]
    sizes = pd.read_csv("data/splits/sample.csv")["split"].value_counts()
    for split in ("train", "validation", "test"):
        assert table[f"not cropped, {split}"].tolist() == [sizes[split], 0]
    assert (FOLDER / "crops.png").stat().st_size < 60_000


@pytest.fixture
def uncompared(broken):
    change_params(Path("params.yaml"), **{"study.crops": {"num_seeds": 1, "num_bootstrap_draws": 100}})
    return broken


def without_masks(image_ids: pd.Series) -> None:
    """Take the masks of some images away."""
    path = Path("data/accepted/sample.parquet")
    table = pd.read_parquet(path)
    table.loc[table["image_id"].isin(image_ids), "mask_path"] = None
    table.to_parquet(path)


def test_images_without_a_box_stay_whole_and_are_counted(uncompared):
    split = pd.read_csv("data/splits/sample.csv")
    without_masks(split.loc[split["split"] == "test", "image_id"].head(2))
    assert run_stage("crops") == 0
    assert read_json(RESULTS)["crops"]["mask"]["num_whole"] == {"train": 0, "validation": 0, "test": 2}


def test_a_way_that_cuts_nothing_is_not_compared(uncompared):
    without_masks(pd.read_csv("data/splits/sample.csv")["image_id"])
    assert run_stage("crops") == 0
    results = read_json(RESULTS)
    assert list(results["crops"]) == ["none"]
    assert results["not_compared"] == ["mask", "unet"]
    assert results["in_words"] == []


def test_a_report_of_another_shape_is_named_before_anything_is_trained(uncompared, capsys):
    report = Path("reports/sample/segmentation.json")
    report.write_text("{}")
    assert run_stage("crops") == 1
    captured = capsys.readouterr()
    assert "segmentation.json lacks 'is_trained'" in captured.err
    assert "1 of" not in captured.out


def test_packs_that_a_kill_left_are_taken_away_by_the_next_run(uncompared):
    left = Path("data/checkpoints/crops-sample-packed/none/images.npy")
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert run_stage("crops") == 0
    assert not list(Path("data/checkpoints").glob("crops-*"))
