import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import roc_auc_score

from melanoma import files, schema, tracking
from melanoma.data import artefacts, packed
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.serving.network import Network
from tests.pipelines.workspace import change_params, run_stage

FILES = {"audit.json", "audit.png", "references.csv", "variants.png"}


def read(name: str) -> dict:
    return json.loads(Path(f"reports/sample/{name}.json").read_text())


def test_the_plain_images_are_measured_as_evaluate_measures_them(at_workspace):
    audit, metrics = read("audit"), read("metrics")
    assert audit["selected"] == metrics["selected"]
    assert audit["is_synthetic"] is True
    plain = audit["variants"]["plain"]
    assert plain["auc_roc"]["value"] == metrics[audit["selected"]]["test"]["auc_roc"]["value"]
    assert plain["num_images"] == metrics[audit["selected"]]["test"]["num_images"]
    assert plain["flipped_fraction"] == plain["mean_probability_change"] == 0


def test_a_variant_can_be_worked_out_from_the_files(at_workspace):
    data, models = packed.open_packed(Path("data/packed/sample")), read("models")
    rows = data.index[data.index["split"] == "test"]
    point = OperatingPoint.from_dict(models[models["selected"]]["operating_point"])
    network = Network(Path(f"models/sample/{models['selected']}/model.onnx"))
    inked = np.stack([artefacts.lay_over(data.images[at], "ink", rows["image_id"][at]) for at in rows.index])
    plain, changed = (
        point.calibration.apply(network.score(pixels)) for pixels in (data.images[rows.index], inked)
    )
    entry = read("audit")["variants"]["ink"]
    np.testing.assert_allclose(entry["auc_roc"]["value"], roc_auc_score(rows["target"], changed))
    np.testing.assert_allclose(entry["mean_probability_change"], (changed - plain).mean())
    flipped = (changed >= point.threshold) != (plain >= point.threshold)
    np.testing.assert_allclose(entry["flipped_fraction"], flipped.mean())


def test_the_references_score_every_image(at_workspace):
    scored = pd.read_csv("reports/sample/references.csv")
    assert tuple(scored.columns) == (*schema.SPLIT_COLUMNS, *schema.REFERENCE_NAMES)
    assert len(scored) == len(packed.open_packed(Path("data/packed/sample")).index)
    test = scored[scored["split"] == "test"]
    for name in schema.REFERENCE_NAMES:
        assert test[name].between(0, 1).all()
        entry = read("audit")["references"][name]
        np.testing.assert_allclose(entry["auc_roc"]["value"], roc_auc_score(test["target"], test[name]))
        plain = read("audit")["variants"]["plain"]["auc_roc"]["value"]
        lead = entry["selected_minus_reference"]["value"]
        np.testing.assert_allclose(lead, plain - entry["auc_roc"]["value"])


def test_the_lead_over_a_reference_is_that_of_what_is_served(own):
    path, selected = Path("reports/sample/predictions.csv"), read("models")["selected"]
    predictions = pd.read_csv(path)
    is_asked = (predictions["model"] == selected) & (predictions["split"] == "test")
    predictions.loc[is_asked, "probability"] = predictions.loc[is_asked, "target"] * 0.5 + 0.25
    predictions.to_csv(path, index=False)
    assert run_stage("audit") == 0
    for entry in read("audit")["references"].values():
        np.testing.assert_allclose(entry["selected_minus_reference"]["value"], 1 - entry["auc_roc"]["value"])


def test_what_was_found_is_in_the_run_of_the_selected_model(at_workspace):
    audit, models, store = read("audit"), read("models"), tracking.client()
    run = store.get_run(models[audit["selected"]]["run_id"])
    assert {Path(file.path).name for file in store.list_artifacts(run.info.run_id, "audit")} == FILES
    assert run.data.metrics["audit/colour"] == audit["references"]["colour"]["auc_roc"]["value"]
    assert run.data.metrics["audit/hair"] == audit["variants"]["hair"]["auc_roc"]["value"]
    assert run.data.tags["audit_warnings"] == "; ".join(audit["warnings"])
    other = store.get_run(models[{"baseline": "tuned", "tuned": "baseline"}[audit["selected"]]]["run_id"])
    assert not [name for name in other.data.metrics if name.startswith("audit/")]


def test_missing_broken_and_empty_masks_are_left_out_and_counted(own):
    before = read("audit")["num_masks"]
    index = packed.open_packed(Path("data/packed/sample")).index
    records = files.read_parquet(Path("data/accepted/sample.parquet")).set_index("image_id")
    first, second, third = index.loc[index["split"] == "test", "image_id"][:3]
    records.loc[first, "mask_path"] = None
    Path(records.loc[second, "mask_path"]).write_bytes(b"no image")
    blank = Image.new("L", Image.open(records.loc[third, "mask_path"]).size)
    blank.save(records.loc[third, "mask_path"])
    files.write_parquet(records.reset_index(), Path("data/accepted/sample.parquet"))
    assert run_stage("audit") == 0
    after = read("audit")
    assert after["num_masks"] == after["variants"]["lesion_black"]["num_images"] == before - 3
    assert after["variants"]["border_only"]["num_images"] == len(index[index["split"] == "test"])
    change_params(own / "params.yaml", audit={"max_flipped_fraction": 0.0})
    files.write_parquet(
        records.assign(mask_path=None).astype({"mask_path": "string"}).reset_index(),
        Path("data/accepted/sample.parquet"),
    )
    assert run_stage("audit") == 0
    assert "lesion_size" not in read("audit")["references"]
    assert read("audit")["warnings"][0].startswith("no image has a mask")


def test_a_run_of_another_store_is_refused_before_anything_is_written(broken, capsys):
    Path("reports/sample/audit.json").unlink()
    assert run_stage("audit") == 1
    assert "is not in the tracking store" in capsys.readouterr().err
    assert not Path("reports/sample/audit.json").exists()
