"""The documented run on real images, with few epochs: PH2 from its folder to a served model."""

import pandas as pd
import pytest

from tests.end_to_end.clone import make_clone, report, run, score, staging_server

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

FEW = {"train": {"num_epochs": 6, "num_seeds": 2}, "tune": {"num_trials": 2, "num_epochs": 3}}


@pytest.fixture(scope="module")
def ph2_run(tmp_path_factory, real_data):
    folder = make_clone(tmp_path_factory.mktemp("ph2"), FEW)
    run(folder, "python", "-m", "pipelines.fetch", "ph2", "--source", str(real_data / "ph2"))
    run(folder, "dvc", "exp", "run", "-S", "run.datasets=[ph2]", "-S", "run.cohorts=[ph2]")
    return folder


def test_all_200_images_reach_a_verdict(ph2_run):
    assert report(ph2_run, "validation/ph2")["num_accepted"] == 200
    splits = pd.read_csv(ph2_run / "data/splits/ph2.csv")
    assert splits["split"].value_counts().to_dict() == {"train": 120, "validation": 40, "test": 40}
    assert splits.groupby("split")["target"].sum().to_dict() == {"train": 24, "validation": 8, "test": 8}
    verdict = report(ph2_run, "ph2/promotion")
    assert verdict["registered_model"] == "melanoma-ph2"
    assert verdict["is_synthetic"] is False
    assert verdict["num_images"] == 40


def test_the_served_model_agrees_with_the_report_on_ph2_images(ph2_run):
    verdict = report(ph2_run, "ph2/promotion")
    if not verdict["is_promoted"]:  # few epochs: then the refusal must say why, and the alias be free
        assert verdict["reasons"]
        run(ph2_run, "dvc", "exp", "run", "-S", "promote.min_auc_roc_lower_bound=0.0")
        verdict = report(ph2_run, "ph2/promotion")
    predictions = pd.read_csv(ph2_run / "reports/ph2/predictions.csv")
    expected = predictions[predictions["model"] == verdict["model"]].set_index("image_id")["probability"]
    with staging_server(ph2_run, "ph2") as url:
        for image_id in expected.index[::20]:
            image = (ph2_run / f"data/raw/ph2/images/{image_id}.jpg").read_bytes()
            (row,) = score(url, [image]).json()["predictions"]
            assert abs(row["probability"] - expected[image_id]) < 1e-5
