from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from melanoma import config
from melanoma.config.evaluation import Evaluate, Promote

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def counted():
    """Four positive and six negative images; at 0.5 three and five of them are decided rightly."""
    target = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    probability = np.array([0.9, 0.8, 0.6, 0.3, 0.7, 0.4, 0.3, 0.2, 0.1, 0.1])
    return target, probability


@pytest.fixture
def settings():
    return Evaluate(
        seed=5,
        num_bootstrap_draws=100,
        calibration="none",
        num_calibration_bins=5,
        min_sensitivity=0.75,
        sensitivity_confidence=None,
        refer_min_sensitivity=0.75,
        refer_min_specificity=0.5,
        max_referred_fraction=1.0,
        prevalences=[0.02, 0.2],
        age_bands=[50],
        min_slice_groups=2,
        num_shown=4,
    )


@pytest.fixture
def rules():
    """The committed gates with other bounds; every optional gate is off, a new one too."""
    committed = config.load(ROOT / "params.yaml").promote
    optional = {
        name for name, field in Promote.model_fields.items() if type(None) in get_args(field.annotation)
    }
    return committed.model_copy(
        update=dict.fromkeys(optional)
        | {
            "primary_metric": "auc_roc",
            "min_malignant_groups": 5,
            "min_auc_roc_lower_bound": 0.5,
            "must_beat_references": [],
            "min_groups_not_worse": 5,
            "max_primary_drop": 0.02,
        }
    )


@pytest.fixture
def index():
    """Eight images per split, three of them positive; two images of each split share a group."""
    rows = [
        {
            "image_id": f"{split}_{number}",
            "dataset": "toy",
            "group_id": f"{split}_group_{max(number, 1)}",
            "target": int(number < 3),
            "split": split,
        }
        for split in ("train", "validation", "test")
        for number in range(8)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def scores(index):
    """The baseline ranks one positive image of each split last but one, the tuned model none behind."""
    perfect = np.array([0.9, 0.8, 0.7, 0.4, 0.3, 0.2, 0.2, 0.1])
    flawed = np.array([0.9, 0.8, 0.15, 0.4, 0.3, 0.2, 0.2, 0.1])
    return {
        model: pd.Series(np.tile(score, 3), index=index["image_id"])
        for model, score in (("baseline", flawed), ("tuned", perfect))
    }


@pytest.fixture
def described(index):
    """Records and facts of the images of `index`: half of them of women, ages 30 and 60."""
    number = np.arange(len(index))
    return index[["image_id", "dataset"]].assign(
        source_collection="clinic",
        sex=np.where(number % 2 == 0, "female", "male"),
        anatom_site=None,
        skin_type=None,
        diagnosis=np.where(index["target"] == 1, "melanoma", "nevus"),
        age_years=np.where(number % 2 == 0, 30.0, 60.0),
        sharpness=number.astype(float),
    )
