"""Export network, operating point and the code of the scorer as an MLflow model."""

import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Object, Property
from PIL import Image

import melanoma
from melanoma.data.crops import UNET, Crop
from melanoma.errors import TrackingError
from melanoma.files import write_json
from melanoma.fingerprint import sha256_of_file
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.serving import model_code
from melanoma.serving.network import Network
from melanoma.serving.records import unrecorded
from melanoma.serving.scorer import OPERATING_POINT, SETTINGS_DIGEST
from melanoma.serving.settings import Settings

# All that loading needs; neither TensorFlow nor this repository.
PACKAGES = ("mlflow", "numpy", "onnxruntime", "pandas", "pillow", "prometheus-client", "scipy")

SEGMENTER_FILE, UNLIKE_FILE, REFERENCE_FILE = "segmenter.onnx", "unlike.npz", "reference.parquet"


def signature(classes: Sequence[str] = ()) -> ModelSignature:
    """Inputs, outputs and parameters of a served model.

    Args:
        classes: The classes that its network tells apart; empty for a network of two answers.
    """
    inputs = [
        ColSpec(DataType.binary, "image"),  # base64 in JSON
        ColSpec(DataType.string, "image_id", required=False),
        ColSpec(DataType.string, "group_id", required=False),
    ]
    outputs = [
        ColSpec(DataType.string, "prediction_id", required=False),  # where answers are recorded
        ColSpec(DataType.string, "image_id", required=False),
        ColSpec(DataType.string, "image_sha256"),
        ColSpec(DataType.double, "probability"),
        ColSpec(DataType.string, "decision"),
        ColSpec(DataType.string, "reason", required=False),  # why the image is unlike the training images
        ColSpec(DataType.string, "positive_means"),
        ColSpec(DataType.double, "threshold"),
        ColSpec(DataType.string, "model_version"),
        ColSpec(DataType.string, "verification"),
        ColSpec(DataType.string, "note"),
        ColSpec(DataType.string, "saliency", required=False),  # base64 of a PNG, on request
    ]
    if classes:
        by_class = Object([Property(name, DataType.double) for name in classes])
        outputs.insert(-1, ColSpec(by_class, "diagnosis"))
    params = [
        ParamSpec("threshold", DataType.double, None),  # None: the operating point
        ParamSpec("explain", DataType.boolean, False),
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs), params=ParamSchema(params))


def log_served_model(
    run_id: str,
    *,
    network: Path,
    operating_point: OperatingPoint,
    limits: Mapping[str, int],
    is_synthetic: bool,
    positive_means: str,
    example: bytes,
    crop: Crop | None = None,
    segmenter: Path | None = None,
    asked_and_got: Mapping[str, Any] | None = None,
    num_views: int = 1,
    unlike: Path | None = None,
    keep_images: bool = False,
    reference: Path | None = None,
    trained_by: str | None = None,
) -> str:
    """Log the served model to a run.

    Args:
        run_id: Run that the model is logged to.
        network: Path of `model.onnx`.
        operating_point: Operating point of the network.
        limits: Limits of requests, of section `serve` of params.yaml.
        is_synthetic: Whether the network was trained on synthetic images only; every answer then says so.
        positive_means: What the decision `positive` means, in words; every answer says it.
        example: Encoded image of the input example; synthetic, never of a patient.
        crop: Crop of the network's images; None if they are whole.
        segmenter: Path of the U-Net's `model.onnx`; included if `crop` uses it.
        asked_and_got: What was asked of the operating point and what it got, as JSON; kept in the metadata of
            the MLflow model under `OPERATING_POINT`.
        num_views: Number of orientations of each image that are scored: those of the operating point.
        unlike: Path of the description of the training images, see `scoring.unlike`; None refers no image as
            unlike.
        keep_images: Whether a server that records its answers keeps the image files, too.
        reference: Path of what the model answers on validation images, see `monitoring.reference`; the server
            does not read it.
        trained_by: Run that trained the network; None if it is `run_id`.

    Returns:
        URI of the model, for registering and serving.

    Raises:
        TrackingError: The segmenter is not the one that cropped the network's images.
    """
    settings = Settings(
        operating_point,
        trained_by or run_id,
        limits,
        is_synthetic,
        sha256_of_file(network),
        crop,
        num_views=num_views,
        positive_means=positive_means,
        unlike_sha256=None if unlike is None else sha256_of_file(unlike),
        keep_images=keep_images,
    )
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_id=run_id), unrecorded():
        path = Path(folder) / "settings.json"
        write_json(settings.to_dict(), path)
        artifacts = {"network": str(network), "settings": str(path)}
        if crop is not None and crop.kind == UNET:
            artifacts["segmenter"] = str(_copy_segmenter(segmenter, crop, Path(folder)))
        if unlike is not None:
            artifacts["unlike"] = str(shutil.copyfile(unlike, Path(folder) / UNLIKE_FILE))
        if reference is not None:
            artifacts["reference"] = str(shutil.copyfile(reference, Path(folder) / REFERENCE_FILE))
        logged = mlflow.pyfunc.log_model(
            name="served",
            python_model=model_code.__file__,
            artifacts=artifacts,
            code_paths=[str(Path(melanoma.__file__).parent)],
            pip_requirements=[f"{package}=={version(package)}" for package in PACKAGES],
            signature=signature(Network(network).classes),
            input_example=pd.DataFrame({"image": [example], "image_id": ["example"]}),
            metadata={
                SETTINGS_DIGEST: sha256_of_file(path),
                OPERATING_POINT: asked_and_got,
                "positive_means": positive_means,
            },
        )
    return str(logged.model_uri)


def _copy_segmenter(segmenter: Path | None, crop: Crop, folder: Path) -> Path:
    """Copy the segmenter under its own name: the network is called `model.onnx` as well."""
    found = None if segmenter is None else sha256_of_file(segmenter)
    if segmenter is None or found != crop.segmenter_sha256:
        raise TrackingError(
            f"The images were cropped with another U-Net than {segmenter}: expected sha256 "
            f"{crop.segmenter_sha256}, found {found}. A served model would crop differently. Run `dvc "
            "repro` to pack the images again."
        )
    return Path(shutil.copyfile(segmenter, folder / SEGMENTER_FILE))


def example_image(size: int) -> bytes:
    """A drawn disc on a shaded background as PNG, for the input example."""
    rows, columns = np.mgrid[:size, :size] - size / 2
    is_inside = rows**2 + columns**2 < (size / 4) ** 2
    shade = 30 * (rows + columns) / size  # a uniform image would be refused
    pixels = np.where(is_inside[..., None], [120, 80, 60], [215, 180, 160]) + shade[..., None]
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
