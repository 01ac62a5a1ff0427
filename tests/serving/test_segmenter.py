"""Cutting as the served model does it: the pixels that `segment` and `pack` give, and none else."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from melanoma import files
from melanoma.config.data import Execution
from melanoma.data import crops, images, lesions, packed, packing
from melanoma.data.crops import Box, Crop
from melanoma.errors import TrackingError
from melanoma.fingerprint import sha256_of_file
from melanoma.serving.export import example_image, log_served_model
from melanoma.serving.network import Network
from melanoma.serving.scorer import UNCUT
from melanoma.serving.segmenter import Cutter, Segmenter
from melanoma.serving.settings import Settings
from tests.data.pictures import encode
from tests.segmenters import write_segmenter
from tests.serving import cropping
from tests.serving.conftest import EXPERIMENT, LIMITS, POINT

SIZE = 48
MIN_LESION_FRACTION = 0.01


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A segmenter by which dark is lesion."""
    return write_segmenter(tmp_path_factory.mktemp("segmenter") / "model.onnx", size=SIZE)


@pytest.fixture(scope="module")
def crop(network):
    return Crop("unet", 0.15, MIN_LESION_FRACTION, sha256_of_file(network))


@pytest.fixture(scope="module")
def cutter(network, crop):
    return Cutter(Segmenter(network), crop)


def skin(*, side: int = 96, dark: Box | None = None) -> np.ndarray:
    """Shaded light skin with a dark square."""
    y, x = np.mgrid[:side, :side]
    pixels = np.stack([200 + y // 8, 160 + x // 8, 140 + x // 8], axis=-1).astype(np.uint8)
    if dark is not None:
        rows = slice(int(dark.top * side), int(dark.bottom * side))
        pixels[rows, int(dark.left * side) : int(dark.right * side)] = (70, 40, 30)
    return pixels


# ---- finding and cutting ---------------------------------------------------------------------


def test_what_the_network_calls_lesion_is_found(network):
    segmenter = Segmenter(network)
    assert segmenter.image_size == SIZE
    picture = skin(side=SIZE, dark=Box(0.25, 0.5, 0.75, 1.0))
    assert segmenter.find_lesion(picture).sum() == 24 * 24
    found = segmenter.find_box(picture, min_lesion_fraction=MIN_LESION_FRACTION)
    assert found == Box(0.25, 0.5, 0.75, 1.0)


def test_a_picture_without_a_lesion_is_not_cut(cutter):
    assert cropping.cut(cutter, encode(skin(), "PNG"), 32) is None
    assert cropping.cut(cutter, encode(skin(dark=Box(0.5, 0.5, 0.75, 0.75)), "PNG"), 32) is not None


def test_what_is_no_network_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(TrackingError, match="cannot be loaded as an ONNX network"):
        Segmenter(tmp_path / "model.onnx")


@pytest.mark.real_data
@pytest.mark.parametrize("dataset", ["isic", "ph2"])
def test_the_server_cuts_real_images_to_the_pixels_that_pack_writes(real_data, cutter, tmp_path, dataset):
    paths = sorted((real_data / dataset / "images").iterdir())[:6]
    opened = packed_as_the_stages_do(paths, cutter, tmp_path)
    assert opened.crop == cutter.crop
    num_cut = 0
    for row, path in enumerate(paths):
        part = cropping.cut(cutter, path.read_bytes(), 150)
        num_cut += part is not None
        served = images.load_square(path.read_bytes(), 150) if part is None else part
        np.testing.assert_array_equal(served, opened.images[row])
    assert num_cut >= 3


def packed_as_the_stages_do(paths: list[Path], cutter: Cutter, folder: Path) -> packed.Packed:
    """What `segment` and `pack` write of these images."""
    records = pd.DataFrame(
        {
            "image_id": [path.stem for path in paths],
            "path": [str(path) for path in paths],
            "sha256": [sha256_of_file(path) for path in paths],
            "mask_path": None,
            "diagnosis": None,
            "is_synthetic": False,
        }
    )
    alone = Execution(backend="processes", num_workers=1, ray_address=None)
    pairs = lesions.read_pairs(records, records, size=SIZE, execution=alone)
    found = np.stack([cutter.segmenter.find_lesion(picture) for picture in pairs.images])
    crop = cutter.crop
    table = lesions.boxes(
        records["image_id"],
        found,
        [None] * len(paths),
        crop=crop.kind,
        min_lesion_fraction=crop.min_lesion_fraction,
        segmenter_sha256=crop.segmenter_sha256,
    )
    files.write_parquet(table, folder / "boxes.parquet")
    cutting = lesions.read_cutting(
        folder / "boxes.parquet",
        crop.kind,
        image_ids=records["image_id"],
        margin_fraction=crop.margin_fraction,
        min_lesion_fraction=crop.min_lesion_fraction,
    )
    assigned = records[["image_id"]].assign(
        dataset="real", group_id=records["image_id"], target=0, split="test"
    )
    packing.pack(assigned, records, folder / "packed", sizes=[150], execution=alone, cutting=cutting)
    return packed.open_packed(folder / "packed")


# ---- the served model ------------------------------------------------------------------------


def log(store_run_id: str, network_folder, crop: Crop | None, segmenter) -> str:
    return log_served_model(
        store_run_id,
        network=network_folder / "model.onnx",
        operating_point=POINT,
        limits=LIMITS,
        is_synthetic=False,
        positive_means="melanoma",
        example=example_image(64),
        crop=crop,
        segmenter=segmenter,
    )


@pytest.fixture(scope="module")
def run_id(store):
    from melanoma import tracking

    with tracking.open_run(experiment=EXPERIMENT, name="trained on crops", tags={}) as run:
        return run.run_id


@pytest.fixture(scope="module")
def cutting_uri(run_id, network_folder, crop, network):
    return log(run_id, network_folder, crop, network)


def test_the_served_model_scores_the_lesion_and_says_where_it_found_none(cutting_uri, network_folder, cutter):
    served = mlflow.pyfunc.load_model(cutting_uri)
    with_lesion = encode(skin(dark=Box(0.3, 0.3, 0.6, 0.7)), "PNG")
    without = encode(skin(), "PNG")
    answer = served.predict(pd.DataFrame({"image": [with_lesion, without]}))
    cut = cropping.cut(cutter, with_lesion, 32)
    assert cut is not None
    pixels = np.stack([cut, images.load_square(without, 32)])
    expected = POINT.calibration.apply(Network(network_folder / "model.onnx").score(pixels))
    np.testing.assert_allclose(answer["probability"], expected, rtol=1e-6)
    assert [UNCUT in note for note in answer["note"]] == [False, True]
    whole = POINT.calibration.apply(
        Network(network_folder / "model.onnx").score(images.load_square(with_lesion, 32)[None])
    )
    assert abs(answer["probability"][0] - whole[0]) > 1e-3  # so that the test can fail


def test_a_segmenter_that_was_changed_is_refused(cutting_uri, tmp_path):
    folder = Path(mlflow.artifacts.download_artifacts(cutting_uri, dst_path=str(tmp_path / "model")))
    assert len(mlflow.pyfunc.load_model(str(folder)).metadata.get_input_schema().inputs) == 3
    path = folder / "artifacts" / "segmenter.onnx"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(
        TrackingError, match=("The segmenter of this model was changed or damaged after it was logged")
    ):
        mlflow.pyfunc.load_model(str(folder))


def test_a_segmenter_that_did_not_cut_the_images_is_not_taken_along(run_id, network_folder, crop, tmp_path):
    other = write_segmenter(tmp_path / "model.onnx", size=SIZE, limit=50.0)
    with pytest.raises(TrackingError, match="A served model would crop differently"):
        log(run_id, network_folder, crop, other)


def test_a_model_of_pictures_cut_by_masks_can_be_logged_but_not_served(run_id, network_folder):
    uri = log(run_id, network_folder, Crop("mask", 0.15, MIN_LESION_FRACTION, None), None)
    with pytest.raises(TrackingError, match="so it cannot be served"):
        mlflow.pyfunc.load_model(uri)


def test_settings_keep_the_crop_and_those_of_before_have_none(tmp_path, crop):
    settings = Settings(POINT, "r" * 32, LIMITS, True, "a" * 64, crop, positive_means="melanoma")
    files.write_json(settings.to_dict(), tmp_path / "settings.json")
    assert Settings.read(tmp_path / "settings.json") == settings
    content = settings.to_dict()
    del content["crop"]
    files.write_json(content, tmp_path / "settings.json")
    assert Settings.read(tmp_path / "settings.json").crop is None
    assert crops.kind_of(None) == "none"
