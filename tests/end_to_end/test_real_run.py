"""The documented run on real images, with few epochs: PH2 from its folder to a server, and what follows."""

import base64

import numpy as np
import pandas as pd
import pytest
import requests

from melanoma.data.packed import INDEX
from tests.data.packs import reseal
from tests.end_to_end.clone import make_clone, report, run, staging_server
from tests.pipelines.workspace import change_params, command

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

NAME = "melanoma-ph2"
# So few epochs make a poor network; which gates it passes is not what is tested here.
OPEN_GATES = {
    "min_auc_roc_lower_bound": 0.0,
    "must_beat_references": [],
    "min_groups_not_worse": 1,
    "max_primary_drop": 1.0,
    "calibration_intercept_band": None,
    "calibration_slope_band": None,
    "min_brier_skill": None,
    "min_specificity_at_threshold": None,
    "min_worst_slice_auc_roc": None,
}
GATES = {"min_auc_roc_lower_bound": 0.5, "must_beat_references": ["colour"], "max_primary_drop": 0.05}
FEW = {
    "run": {"datasets": ["ph2"], "cohorts": ["ph2"]},
    "train": {"num_epochs": 6, "num_seeds": 2},
    "tune": {"num_trials": 2, "num_epochs": 3},
    "promote": OPEN_GATES,
}


@pytest.fixture(scope="module")
def ph2_run(tmp_path_factory, real_data):
    folder = make_clone(tmp_path_factory.mktemp("ph2"), FEW)
    run(folder, "python", "-m", "pipelines.fetch", "ph2", "--source", str(real_data / "ph2"))
    run(folder, "dvc", "repro")
    return folder


def script(folder, name, *arguments, exit_code=0):
    return run(folder, "python", "-m", f"pipelines.{name}", *arguments, exit_code=exit_code)


def test_all_200_images_reach_a_verdict(ph2_run):
    assert report(ph2_run, "validation/ph2")["num_accepted"] == 200
    splits = pd.read_csv(ph2_run / "data/splits/ph2.csv")
    assert splits["split"].value_counts().to_dict() == {"train": 120, "validation": 40, "test": 40}
    assert splits.groupby("split")["target"].sum().to_dict() == {"train": 24, "validation": 8, "test": 8}
    verdict = report(ph2_run, "ph2/promotion")
    assert verdict["registered_model"] == NAME
    assert verdict["is_synthetic"] is False
    assert verdict["num_images"] == 40
    assert verdict["is_promoted"]


def test_the_served_model_answers_all_measured_images_as_the_report_says(ph2_run):
    predictions = pd.read_csv(ph2_run / "reports/ph2/predictions.csv")
    rows = predictions[predictions["model"] == report(ph2_run, "ph2/promotion")["model"]]
    assert len(rows) == 80  # validation and test
    answers = []
    with staging_server(ph2_run, "ph2") as url:
        for batch in np.array_split(rows["image_id"].to_numpy(), 5):
            images = [(ph2_run / f"data/raw/ph2/images/{name}.jpg").read_bytes() for name in batch]
            data = [
                [base64.b64encode(image).decode(), name] for image, name in zip(images, batch, strict=True)
            ]
            body = {"dataframe_split": {"columns": ["image", "image_id"], "data": data}}
            answer = requests.post(f"{url}/invocations", json=body, timeout=120)
            assert answer.status_code == 200, answer.text
            answers += answer.json()["predictions"]
        smoke = script(ph2_run, "smoke", "--url", url, "--cohort", "ph2")
    served = pd.DataFrame(answers)
    assert served["image_id"].tolist() == rows["image_id"].tolist()
    np.testing.assert_allclose(served["probability"], rows["probability"], atol=1e-5)
    assert served["decision"].tolist() == rows["decision"].tolist()
    assert "ok" in smoke


def test_a_folder_is_scored_as_the_report_says(ph2_run):
    out = ph2_run.parent / "scored.csv"
    images = str(ph2_run / "data/raw/ph2/images")
    script(ph2_run, "predict", "--images", images, "--out", str(out), "--model", f"models:/{NAME}@staging")
    predictions = pd.read_csv(ph2_run / "reports/ph2/predictions.csv")
    expected = predictions[predictions["model"] == report(ph2_run, "ph2/promotion")["model"]]
    scored = pd.read_csv(out)
    assert scored["problem"].isna().all()
    scored["image_id"] = scored["file"].str.removesuffix(".jpg")
    merged = scored.merge(expected, on="image_id", suffixes=("", "_expected"))
    assert (len(scored), len(merged)) == (200, 80)  # the report has validation and test
    np.testing.assert_allclose(merged["probability"], merged["probability_expected"], atol=1e-5)


def test_a_version_leads_back_to_its_images_and_they_are_still_there(ph2_run):
    traced = script(ph2_run, "trace", f"models:/{NAME}@staging")
    assert "200" in traced
    assert "PH2-research-and-education-only" in traced


def test_a_network_trained_on_shuffled_labels_is_refused_with_its_reasons(ph2_run):
    staging = report(ph2_run, "ph2/promotion")["staging_version"]
    change_params(ph2_run / "params.yaml", promote=GATES)
    shuffle_labels(ph2_run / "data/packed/ph2")
    stage(ph2_run, "train")
    run(ph2_run, "dvc", "checkout", "--force", "data/packed/ph2")
    for name in ("evaluate", "audit", "promote"):
        output = stage(ph2_run, name)
    verdict = report(ph2_run, "ph2/promotion")
    assert not verdict["is_promoted"]
    assert verdict["version"] == 2
    assert verdict["staging_version"] == staging
    assert "refused" in output
    assert all(reason in output for reason in verdict["reasons"])


def stage(folder, name):
    return script(folder, name, *command(name, "ph2"))


def shuffle_labels(packed):
    """Give the labels of training and validation images to others of them."""
    index = pd.read_parquet(packed / INDEX)
    known = index["split"] != "test"
    index.loc[known, "target"] = np.random.default_rng(0).permutation(index.loc[known, "target"])
    (packed / INDEX).unlink()  # it may be a link into DVC's cache
    index.to_parquet(packed / INDEX, index=False)
    reseal(packed)
