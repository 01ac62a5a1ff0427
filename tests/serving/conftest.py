import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from melanoma.scoring.operating_point import Calibration, OperatingPoint
from tests.end_to_end import clone

POINT = OperatingPoint(
    Calibration("logistic", slope=8.0, intercept=-0.3), threshold=0.375, refer_from=0.3, refer_to=0.45
)
ASKED_AND_GOT = {"rows": [{"name": "threshold", "asked": 0.95}], "notes": [], "warnings": ["narrowed"]}
LIMITS = {
    "max_rows": 40,
    "max_request_megabytes": 2,
    "max_request_megapixels": 300,
    "max_image_megapixels": 64,
    "min_image_side": 32,
    "max_explained_rows": 2,
    "num_occlusion_steps": 4,
    "request_seconds": 15,
    "decode_seconds": 5,
    "idle_seconds": 3,
    "max_server_megabytes": 16,
    "max_server_megapixels": 600,
    "max_server_requests": 16,
    "max_connections": 40,
}
EXPERIMENT = "serving"
SERVE = ("mlflow", "models", "serve", "--env-manager", "local")


def mlflow_settings() -> dict[str, str]:
    """Where this process's MLflow keeps runs and models, for another process."""
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}


@contextmanager
def serving(uri: str, folder: Path, *options: str, settings: dict[str, str] | None = None) -> Iterator[str]:
    """The URL of a real server of the model at `uri`, started in `folder` as a user would."""
    port = clone.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*SERVE, "-m", uri, "--port", str(port), *options]
    given = mlflow_settings() | (settings or {})
    with clone.server(folder, *command, url=f"{url}/ping", settings=given):
        yield url


@pytest.fixture(scope="session")
def network_folder(tmp_path_factory):
    """`model.keras` and `model.onnx` of a one-block network whose probabilities lie far apart."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from melanoma.models import conv_blocks
    from melanoma.training.saving import save_model

    model = conv_blocks.build(
        image_size=32,
        depth=1,
        filters=[4],
        dense_units=8,
        dropout=0.0,
        batch_norm=False,
        global_pooling=False,
        residual=False,
    )
    generator = np.random.default_rng(1)
    model.set_weights([generator.normal(0, 0.3, size=weight.shape) for weight in model.get_weights()])
    folder = tmp_path_factory.mktemp("network")
    save_model([model], folder)
    return folder


@pytest.fixture(scope="session")
def images():
    """150 pictures of a lesion on shaded skin, each in colours of its own."""
    generator = np.random.default_rng(4)
    y, x = np.mgrid[:32, :32] - 15.5
    is_lesion = (np.hypot(y, x) < 9)[..., None]
    shade = (y + x)[..., None]
    pictures = []
    for _ in range(150):
        skin, lesion = (
            generator.integers([150, 110, 90], [230, 190, 170]),
            generator.integers(20, 130, size=3),
        )
        grain = generator.integers(-8, 9, size=(32, 32, 1))
        pictures.append(np.clip(np.where(is_lesion, lesion, skin) + shade * 0.5 + grain, 0, 255))
    return np.stack(pictures).astype(np.uint8)


@pytest.fixture(scope="module")
def store(empty_store, tmp_path_factory):
    """An empty tracking store with its own artifact folder; yields a client of it.

    One for each file of tests: MLflow's address is global, and other files set their own.
    """
    from melanoma import tracking

    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_store, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setattr(sys, "path", list(sys.path))  # loading a model puts its code folder there
        client = tracking.client()
        client.create_experiment(EXPERIMENT, artifact_location=str(folder / "artifacts"))
        yield client


@pytest.fixture(scope="module")
def logged(store, network_folder):
    """The served model as `export` logs it: `uri`, and `run_id` of the run it belongs to."""
    from melanoma import tracking
    from melanoma.serving.export import example_image, log_served_model

    with tracking.open_run(experiment=EXPERIMENT, name="trained", tags={}) as run:
        pass
    uri = log_served_model(
        run.run_id,
        network=network_folder / "model.onnx",
        operating_point=POINT,
        limits=LIMITS,
        is_synthetic=True,
        positive_means="melanoma",
        example=example_image(64),
        asked_and_got=ASKED_AND_GOT,
    )
    return SimpleNamespace(uri=uri, run_id=run.run_id)


@pytest.fixture(scope="module")
def served(logged):
    """The served model, loaded as the scoring server loads it."""
    import mlflow

    return mlflow.pyfunc.load_model(logged.uri)


@pytest.fixture(scope="session")
def pictures(images):
    """The same picture, larger than the network's input, in every format that is taken."""
    image = Image.fromarray(images[0]).resize((90, 70))
    encoded = {}
    for kind in ("JPEG", "PNG", "BMP", "WEBP"):
        stream = io.BytesIO()
        image.save(stream, kind)
        encoded[kind] = stream.getvalue()
    return encoded
