from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from melanoma import tracking
from melanoma.data.images import read_bytes
from melanoma.data.lesions import Pairs
from melanoma.data.packed import open_packed
from melanoma.errors import DataError
from melanoma.files import read_json
from melanoma.fingerprint import sha256_of_file
from melanoma.serving.scorer import UNCUT
from melanoma.serving.segmenter import Cutter, Segmenter
from melanoma.stages import segment
from tests.pipelines.workspace import change_params, copy, copy_with_store, inside, run_stage
from tests.serving import cropping

BOXES, REPORT = Path("data/lesions/sample.parquet"), Path("reports/sample/segmentation.json")
SEGMENTER = Path("models/sample/segmenter")


def read_split() -> pd.DataFrame:
    return pd.read_csv("data/splits/sample.csv", dtype={"image_id": "string"})


@pytest.fixture(scope="module")
def masked(workspace, tmp_path_factory):
    """A copy of the workspace where images are to be cropped by masks; read only."""
    folder = copy(workspace, tmp_path_factory.mktemp("masked") / "copy")
    with inside(folder):
        change_params(Path("params.yaml"), pack={"crop": "mask"})
        assert run_stage("segment") == 0
        yield folder


def test_where_nothing_needs_boxes_no_image_is_read(broken, capsys):
    assert pd.read_parquet(BOXES).empty
    for path in pd.read_parquet("data/accepted/sample.parquet")[["path", "mask_path"]].to_numpy().ravel():
        Path(path).unlink(missing_ok=True)
    assert run_stage("segment") == 0
    num_images = read_json(REPORT)["num_images"]
    assert num_images == len(read_split())
    assert f"none of {num_images} images was read" in capsys.readouterr().out
    change_params(Path("params.yaml"), pack={"crop": "mask"})
    assert run_stage("segment") == 1
    assert f"{num_images} of {num_images} images cannot be read" in capsys.readouterr().err


def test_every_image_of_the_cohort_has_a_row_by_its_mask(masked):
    boxes = pd.read_parquet(BOXES)
    assert boxes["image_id"].tolist() == read_split()["image_id"].tolist()
    assert set(boxes["crop"]) == {"mask"}
    report = read_json(REPORT)
    assert report["num_images"] == len(boxes)
    assert report["num_without_box_by_mask"] == boxes["problem"].notna().sum()
    assert report["is_synthetic"] is True


def test_without_training_there_is_no_network_and_the_folder_says_so(at_workspace):
    assert read_json(REPORT)["is_trained"] is False
    assert [path.name for path in SEGMENTER.iterdir()] == ["segmenter.json"]
    assert read_json(SEGMENTER / "segmenter.json") == {"is_trained": False}


def test_a_box_lies_around_its_lesion(masked):
    from PIL import Image

    row = pd.read_parquet(BOXES).iloc[0]
    records = pd.read_parquet("data/accepted/sample.parquet").set_index("image_id")
    lesion = np.asarray(Image.open(records.loc[row["image_id"], "mask_path"])) > 127
    columns, rows = np.flatnonzero(lesion.any(0)), np.flatnonzero(lesion.any(1))
    found = row[["left", "top", "right", "bottom"]].to_numpy(float)
    height, width = lesion.shape
    drawn = [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]
    np.testing.assert_allclose(found, drawn, atol=2 / 96)


def test_the_u_net_learns_from_training_images_alone_whatever_the_order_of_the_sides(params):
    names = [f"i{number:02}" for number in range(14)]
    square = np.zeros((14, 8, 8, 3), np.uint8)
    problems = [None, "no mask", *[None] * 12]
    pairs = Pairs(square, square[..., 0] == 0, problems, image_ids=np.array(names))
    sides = pd.DataFrame(
        {"image_id": names, "group_id": names, "target": [0, 1] * 7, "split": ["train"] * 12 + ["test"] * 2}
    )[::-1]
    training = segment.SegmenterTraining("toy", params, sides, pairs, is_synthetic=True)
    learned, held = (set(part.image_ids) for part in training.parts())
    assert not learned & held
    assert learned | held == set(names[:12]) - {"i01"}  # it has no mask; two others are of the test split
    assert 1 <= len(held) <= 4
    lacking = segment.SegmenterTraining("toy", params, sides[1:], pairs, is_synthetic=True)
    with pytest.raises(DataError, match=r"The splits of images .* 1 images have no row \(i13\)"):
        lacking.parts()


@pytest.fixture(scope="module")
def trained(workspace, tmp_path_factory):
    """A copy of the workspace whose pictures were cut by a U-Net of one epoch; read only."""
    folder = copy(workspace, tmp_path_factory.mktemp("trained") / "copy")
    with inside(folder):
        change_params(
            Path("params.yaml"),
            segment={
                "train": True,
                "image_size": 32,
                "depth": 2,
                "filters": 2,
                "batch_size": 4,
                "num_epochs": 3,
                "num_bootstrap_draws": 200,
            },
            pack={"crop": "unet"},
        )
        assert run_stage("segment") == 0
        assert run_stage("pack") == 0
        yield folder


@pytest.mark.slow
def test_a_trained_network_is_measured_on_splits_it_did_not_learn_from(trained):
    report, split = read_json(REPORT), read_split()
    network = report["segmenter"]
    assert 0 < network["num_training_masks"] < (split["split"] == "train").sum()  # less the hold-out
    for name, entry in report["splits"].items():
        assert entry["num_images"] == entry["num_with_mask"] == (split["split"] == name).sum()
        ends = [entry["dice"][end] for end in ("low", "value", "high")]
        known = [0, *(end for end in ends if end is not None), 1]  # equal overlaps have no interval
        assert known == sorted(known)
    assert network["sha256"] == sha256_of_file(SEGMENTER / "model.onnx")
    run = tracking.read_run(network["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["selection/epoch"] == network["best_epoch"]
    assert not Path("data/checkpoints/sample-segmenter").exists()


@pytest.mark.slow
def test_an_equal_training_has_the_run_of_the_first_and_each_epoch_stands_there_once(trained, tmp_path):
    before = read_json(REPORT)["segmenter"]
    with inside(copy_with_store(trained, tmp_path / "copy")):
        assert run_stage("segment") == 0
        after = read_json(REPORT)["segmenter"]
        assert after["run_id"] == before["run_id"]
        losses = tracking.client().get_metric_history(after["run_id"], "epoch/train_loss")
        assert [metric.step for metric in losses] == list(range(1, after["num_epochs"] + 1))


@pytest.mark.slow
def test_the_server_would_cut_every_picture_as_it_was_packed(trained):
    packed = open_packed(Path("data/packed/sample"))
    assert packed.crop is not None
    assert packed.crop.segmenter_sha256 == sha256_of_file(SEGMENTER / "model.onnx")
    cutter = Cutter(Segmenter(SEGMENTER / "model.onnx"), packed.crop)
    boxes = pd.read_parquet(BOXES)
    found = boxes[boxes["crop"] == "unet"].set_index("image_id")["problem"].isna()
    path_of = pd.read_parquet("data/accepted/sample.parquet").set_index("image_id")["path"]
    for row, image_id in enumerate(packed.index["image_id"]):
        part = cropping.cut(cutter, Path(path_of[image_id]).read_bytes(), 48)
        assert (part is not None) == found[image_id]
        if part is not None:
            np.testing.assert_array_equal(part, packed.images[row])


@pytest.mark.slow
def test_a_model_of_cut_pictures_is_promoted_and_served_with_its_segmenter(trained):
    change_params(Path("params.yaml"), train={"num_seeds": 1, "num_epochs": 1})
    for stage in ("train", "evaluate", "audit", "promote"):
        assert run_stage(stage) == 0
    models = read_json(Path("reports/sample/models.json"))
    version = tracking.client().get_model_version_by_alias("melanoma-sample", "staging")
    assert int(version.version) == read_json(Path("reports/sample/promotion.json"))["version"]
    served = mlflow.pyfunc.load_model(models["baseline"]["model_uri"])
    assert len(served.predict(served.input_example)) == 1
    predictions = pd.read_csv("reports/sample/predictions.csv")
    predictions = predictions[predictions["model"] == "baseline"]
    path_of = pd.read_parquet("data/accepted/sample.parquet").set_index("image_id")["path"]
    encoded = [read_bytes(Path(path_of[image_id])) for image_id in predictions["image_id"]]
    answer = served.predict(pd.DataFrame({"image": encoded}))
    np.testing.assert_allclose(answer["probability"], predictions["probability"], atol=1e-6)
    is_cut = pd.read_parquet(BOXES).query("crop == 'unet'").set_index("image_id")["problem"].isna()
    said_whole = answer["note"].str.contains(UNCUT, regex=False).tolist()
    assert said_whole == [not is_cut[image_id] for image_id in predictions["image_id"]]
