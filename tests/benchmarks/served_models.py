"""One network, logged as this project serves it, alone and behind a U-Net, and as MLflow's Keras flavour.

Run by `bench_serve` in a process of its own, because TensorFlow stays in memory.
"""

import functools
import json
import sys
from pathlib import Path

import numpy as np


def main() -> int:
    """Log all to the store of the environment; `models.json` in the given folder names them.

    The second argument is the number of entries of `served_views.COUNTS` to log.
    """
    folder, num_views = Path(sys.argv[1]), int(sys.argv[2])
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from melanoma import config, tracking
    from melanoma.data.crops import UNET, Crop
    from melanoma.fingerprint import sha256_of_file
    from melanoma.models.builders import build_model
    from melanoma.scoring.operating_point import Calibration, OperatingPoint
    from melanoma.segmentation import unet
    from melanoma.serving import export
    from melanoma.training.saving import save_model, save_segmenter
    from tests.benchmarks import served_views
    from tests.benchmarks.contestants import ROOT

    params = config.load(ROOT / "params.yaml")
    size = params.baseline.image_size
    network = build_model(params.baseline, params.model, image_size=size)
    save_model([network], folder)
    tracking.client().create_experiment("bench", artifact_location=str(folder / "artifacts"))
    with tracking.open_run(experiment="bench", name="bench", tags={}) as run:
        pass
    log_any = functools.partial(
        export.log_served_model,
        run.run_id,
        operating_point=OperatingPoint(Calibration(), 0.5, 0.4, 0.6),
        limits=params.serve.limits,
        is_synthetic=True,
        positive_means="melanoma",
        example=export.example_image(size),
    )
    log_served_model = functools.partial(log_any, network=folder / "model.onnx")
    own = log_served_model()
    settings = params.segment
    segmenter = unet.build(image_size=settings.image_size, depth=settings.depth, filters=settings.filters)
    save_segmenter(segmenter, folder / "segmenter")
    exported = folder / "segmenter" / "model.onnx"
    # Not trained, it finds specks: the smallest of them counts, so that every picture is cut.
    crop = Crop(UNET, params.pack.crop_margin_fraction, 1e-6, sha256_of_file(exported))
    cut = log_served_model(crop=crop, segmenter=exported)
    signature = ModelSignature(inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, size, size, 3))]))
    with mlflow.start_run(run_id=run.run_id):
        keras = mlflow.tensorflow.log_model(network, name="keras", signature=signature).model_uri
    views = served_views.log(params, log_any, folder, served_views.COUNTS[:num_views])
    named = {"own": own, "cut": cut, "keras": keras, "crop": crop.to_dict(), "views": views}
    (folder / "models.json").write_text(json.dumps(named), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
