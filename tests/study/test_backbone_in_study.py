"""The study's stages with the recipe `backbone`, here a small network from scratch."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma.data.packed import Packed
from melanoma.study import resplit_results, sources
from melanoma.study.stages import resplit
from melanoma.study.stages.diagnosis import DiagnosisExperiment
from melanoma.study.stages.transfer import TransferExperiment

SIZE = 32


@pytest.fixture
def small(params):
    """Parameters in which the backbone is a small network like the baseline that keeps its last epoch."""
    changes = {"image_size": SIZE, "depth": 1, "filters": 2, "dense_units": 4, "learning_rate": 2e-3}
    baseline = params.baseline.with_drawn(changes)
    backbone = baseline.with_drawn({"keep_epoch": "last", "num_epochs": 7})
    study = params.study.model_copy(
        update={"diagnosis": params.study.diagnosis.model_copy(update={"recipe": "backbone", "num_seeds": 1})}
    )
    return params.model_copy(update={"baseline": baseline, "backbone": backbone, "study": study})


@pytest.fixture
def data() -> Packed:
    """Twelve images of two datasets, of both classes in each split."""
    index = pd.DataFrame(
        {
            "image_id": [f"i{at}" for at in range(12)],
            "group_id": [f"g{at}" for at in range(12)],
            "dataset": ["isic"] * 6 + ["ph2"] * 6,
            "target": [0, 1] * 6,
            "split": ["train", "train", "validation", "validation", "test", "test"] * 2,
        }
    )
    images = np.random.default_rng(1).integers(0, 256, (12, SIZE, SIZE, 3), dtype=np.uint8)
    return Packed(images, index, "digest", is_synthetic=True)


def test_features_of_the_backbone_are_those_of_each_image_and_the_regression_on_them_is_named(small, data):
    found = resplit._features(small, data, small.baseline)
    given = small.study.resplit.model_copy(update={"backbone_features": False})
    off = small.model_copy(update={"study": small.study.model_copy(update={"resplit": given})})
    assert list(found) == ["colours", "backbone"]
    assert list(resplit._features(off, data, off.baseline)) == ["colours"]
    features = found["backbone"]
    assert features.index.tolist() == data.index["image_id"].tolist()
    assert features.to_numpy().std() > 0
    turned = Packed(data.images[::-1], data.index.iloc[::-1].reset_index(drop=True), "d", is_synthetic=True)
    again = resplit._features(small, turned, small.baseline)["backbone"]
    np.testing.assert_allclose(again.loc[features.index], features, rtol=1e-5)
    assert "before it is fine-tuned" in resplit_results.NAMES["backbone"]


def test_transfer_trains_the_backbone_with_its_own_length_and_without_a_hold_out(small, data, monkeypatch):
    settings = small.study.transfer.model_copy(
        update={"num_seeds": {"baseline": 1, "backbone": 1}, "min_images": 2}
    )
    params = small.model_copy(update={"study": small.study.model_copy(update={"transfer": settings})})
    experiment = TransferExperiment("toy", params, data, Path(), small.baseline, Path())
    collections = pd.Series(pd.NA, index=data.index["image_id"], dtype="string")
    found = sources.find_sources(data.index, collections, min_images=2)
    monkeypatch.setattr(TransferExperiment, "sources", found)
    specs = {spec.name: spec for spec in experiment.networks()}
    assert set(specs) == {
        f"{kind}, {left_out} left out seed 1"
        for kind in ("baseline", "backbone")
        for left_out in ("nothing", "dataset isic", "dataset ph2")
    }
    spec = specs["backbone, dataset isic left out seed 1"]
    assert spec.recipe.hyperparameters == params.backbone
    assert spec.recipe.num_epochs(spec.num_epochs) == 7
    assert spec.arrays.holdout is None
    assert spec.arrays.train.rows.tolist() == [6, 7, 8, 9]
    assert specs["baseline, dataset isic left out seed 1"].arrays.holdout.rows.tolist() == [8, 9]


def test_diagnosis_trains_the_recipe_that_is_asked_for(small, data):
    specs = list(DiagnosisExperiment("toy", small, data, Path()).networks())
    assert {spec.recipe.hyperparameters for spec in specs} == {small.backbone}
    assert {spec.tags["model"] for spec in specs} == {"backbone"}
