"""One network, logged twice: as this project serves it, and as MLflow's Keras flavour does.

Run by `bench_serve` in a process of its own, because TensorFlow stays in memory.
"""

import json
import sys
from pathlib import Path

import numpy as np


def main() -> int:
    """Log both to the store of the environment; `models.json` in the given folder names them."""
    folder = Path(sys.argv[1])
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from melanoma import config, tracking
    from melanoma.models.builders import build_model
    from melanoma.scoring.operating_point import Calibration, OperatingPoint
    from melanoma.serving import export
    from melanoma.training.saving import save_model
    from tests.benchmarks.contestants import ROOT

    params = config.load(ROOT / "params.yaml")
    size = params.pack.image_size
    network = build_model(params.baseline, params.model, image_size=size)
    save_model(network, folder)
    tracking.client().create_experiment("bench", artifact_location=str(folder / "artifacts"))
    with tracking.open_run(experiment="bench", name="bench", tags={}) as run:
        pass
    own = export.log_served_model(
        run.run_id,
        network=folder / "model.onnx",
        operating_point=OperatingPoint(Calibration(), 0.5, 0.4, 0.6),
        limits=params.serve.model_dump(),
        is_synthetic=True,
        example=export.example_image(size),
    )
    signature = ModelSignature(inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, size, size, 3))]))
    with mlflow.start_run(run_id=run.run_id):
        keras = mlflow.tensorflow.log_model(network, name="keras", signature=signature).model_uri
    named = {"own": own, "keras": keras, "image_size": size}
    (folder / "models.json").write_text(json.dumps(named), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
