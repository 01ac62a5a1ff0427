import json
from pathlib import Path

import pandas as pd
import pytest

from melanoma import tracking
from melanoma.registry import versions
from tests.pipelines.workspace import change_params, run_stage

NAME = "melanoma-sample"


def verdict() -> dict:
    return json.loads(Path("reports/sample/promotion.json").read_text())


@pytest.fixture
def fresh(broken):
    """A copy with a registry of its own that holds nothing yet."""
    for stage in ("train", "evaluate"):
        assert run_stage(stage) == 0
    return broken


def test_the_first_model_that_passes_holds_the_alias(at_workspace):
    assert verdict()["is_promoted"]
    assert verdict()["previous_version"] is None
    version = versions.find_version(NAME, versions.STAGING)
    assert int(version.version) == verdict()["version"] == 1
    assert version.tags["is_synthetic"] == "true"
    assert version.tags["gate"] == "passed"


def test_a_refusal_names_its_reasons_and_leaves_the_alias_alone(fresh, capsys):
    change_params(fresh / "params.yaml", promote={"min_malignant_groups": 1000})
    assert run_stage("promote") == 0
    assert not verdict()["is_promoted"]
    assert "at least 1000 are needed" in verdict()["reasons"][0]
    assert "refused" in capsys.readouterr().out
    assert versions.find_version(NAME, versions.STAGING) is None
    assert verdict()["staging_version"] is None
    assert versions.find_version(NAME, versions.CHALLENGER) is not None


def test_the_same_model_twice_is_one_version(fresh):
    assert run_stage("promote") == 0
    assert run_stage("promote") == 0
    assert len(tracking.client().search_model_versions(f"name = '{NAME}'")) == 1
    assert verdict()["is_promoted"]
    assert verdict()["auc_roc_difference"]["value"] == 0
    assert verdict()["previous_version"] is None


def test_a_worse_challenger_is_refused_and_the_champion_stays(fresh):
    assert run_stage("promote") == 0
    champion = versions.find_version(NAME, versions.STAGING)
    predictions = pd.read_csv("reports/sample/predictions.csv")
    predictions["probability"] = 1.0 - predictions["target"]  # wrong about every image: AUC 0
    predictions.to_csv("reports/sample/predictions.csv", index=False)
    models = json.loads(Path("reports/sample/models.json").read_text())
    models[models["selected"]]["threshold"] = 0.123  # makes it another model
    Path("reports/sample/models.json").write_text(json.dumps(models))
    assert run_stage("promote") == 0
    result = verdict()
    assert not result["is_promoted"]
    assert result["challenger_auc_roc"]["value"] == 0
    assert any("below the champion's" in reason for reason in result["reasons"])
    assert result["previous_version"] == result["staging_version"] == int(champion.version)
    assert versions.find_version(NAME, versions.STAGING).version == champion.version
    challenger = versions.find_version(NAME, versions.CHALLENGER)
    assert int(challenger.version) == result["version"] != int(champion.version)
    assert "below the champion's" in challenger.tags["gate_reasons"]


def test_images_that_the_champion_learned_from_do_not_count(fresh):
    assert run_stage("promote") == 0
    num_before = verdict()["num_images"]
    splits = pd.read_csv("data/splits/sample.csv")
    splits["split"] = splits["split"].map({"train": "test", "test": "train", "validation": "validation"})
    splits.to_csv("data/splits/sample.csv", index=False)
    for stage in ("pack", "tune", "train", "evaluate"):
        assert run_stage(stage) == 0
    assert run_stage("promote") == 0
    assert num_before > 0
    assert verdict()["num_images"] == 0
    assert not verdict()["is_promoted"]


def test_images_that_a_withheld_one_of_the_champion_is_related_to_do_not_count(fresh):
    """The champion trained on an image that has since been tied to a test image."""
    assert run_stage("promote") == 0
    num_before = verdict()["num_images"]
    assigned = pd.read_csv("data/groups/assigned.csv", dtype="string")
    group = assigned[assigned["split"] == "test"].groupby("group_id").filter(lambda rows: len(rows) == 1)
    learned = assigned.index[assigned["split"] == "train"][0]
    assigned.loc[learned, ["group_id", "withheld"]] = [group["group_id"].iloc[0], "its group lies in test"]
    assigned.to_csv("data/groups/assigned.csv", index=False)
    assert run_stage("promote") == 0
    assert verdict()["num_images"] == num_before - 1
