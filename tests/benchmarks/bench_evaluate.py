"""The stages `evaluate` and `audit` on 5,000 drawn images, with two EfficientNet-Lite0 of eight views.

Run by `make bench-evaluate`. Prints time and processor time of each part. All happens in a temporary folder,
with a tracking store of its own. The networks have random weights, on which time does not depend. Writes JSON
to `--out`. Ends with exit code 1 when both stages together take longer than `MAX_SECONDS`, which `--quick`
does not judge.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from melanoma import config, files, schema
from melanoma.data import packed
from melanoma.fingerprint import sha256_of_file
from tests.benchmarks.contestants import ROOT
from tests.benchmarks.rows import describe_machine

MAX_SECONDS = 180  # on two idle cores
COHORT = "bench"
PARTS = {  # where the time goes: functions of the stages, none of which calls another one of them
    "answers of the networks": ("melanoma.stages.network_answers", "ask"),
    "metrics, intervals, slices": ("melanoma.evaluation.report", "evaluate"),
    "figures": ("melanoma.evaluation.result_figures", "draw"),
    "sheets with occlusion maps": ("melanoma.evaluation.result_figures", "draw_images"),
    "logging the models": ("melanoma.serving.export", "log_served_model"),
    "references": ("melanoma.stages.audit", "_score_references"),
    "changed images": ("melanoma.stages.audit", "_measure"),
    "unlike pictures": ("melanoma.stages.audit", "_refer"),
    "audit figures": ("melanoma.stages.audit", "_draw"),
}


def main() -> int:
    """Measure, print and write; 1 when the stages take too long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few images, to see that it runs")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/evaluate.json"))
    parser.add_argument("--models", type=Path, help="only write the networks to this folder")
    args = parser.parse_args()
    if args.models:
        _write_models(args.models)
        return 0
    machine = describe_machine()
    print(f"{machine['processor']}, {machine['num_cores']} cores, load {machine['load_before']}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = _measure(Path(folder), 200 if args.quick else args.images)
    files.write_json({"machine": machine, "is_quick": args.quick, "rows": rows}, args.out)
    total = sum(row["seconds"] for row in rows if row["part"] == "whole stage")
    print(f"both stages: {total:.0f} s -> {args.out}")
    return int(total > MAX_SECONDS and not args.quick)


def _write_models(folder: Path) -> None:
    """The baseline, and two backbones as one; in a process of its own, because TensorFlow stays in memory."""
    import keras

    from melanoma.models.builders import build_model
    from melanoma.training.saving import save_model

    params = config.load(ROOT / "params.yaml")
    keras.utils.set_random_seed(1)
    drawn = params.backbone.model_copy(update={"weights": None})
    for name, hyperparameters, number in (("baseline", params.baseline, 1), ("tuned", drawn, 2)):
        size = hyperparameters.image_size
        save_model(
            [build_model(hyperparameters, params.model, image_size=size) for _ in range(number)],
            folder / name,
        )


def _measure(folder: Path, num_images: int) -> list[dict[str, Any]]:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    command = [sys.executable, "-m", "tests.benchmarks.bench_evaluate", "--models", str(folder / "models")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    params = config.load(ROOT / "params.yaml")
    params = params.model_copy(
        update={
            "cohorts": {COHORT: [COHORT]},
            "serve": params.serve.model_copy(update={"num_views": 8}),
        }
    )
    index = _index(num_images)
    _pack(folder / "packed", index, (params.baseline.image_size, params.backbone.image_size))
    _describe(folder, index)
    _runs_and_seeds(folder)
    rows: list[dict[str, Any]] = []
    args = _arguments(folder)
    from melanoma.stages import audit, evaluate

    for name, stage in (("evaluate", evaluate), ("audit", audit)):
        if name == "audit":  # networks of random weights: whichever was selected, the larger one is audited
            models = files.read_json(args.models)
            files.write_json(models | {"selected": "tuned"}, args.models)
        with _timed_parts(name, rows):
            _timed(lambda stage=stage: stage.run(args, params), name, "whole stage", rows)()
    return rows


def _index(num_images: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    target = (rng.random(num_images) < 0.15).astype(int)
    group = rng.integers(0, int(0.9 * num_images), num_images)
    split_of_group = rng.choice(schema.SPLITS, num_images, p=(0.6, 0.2, 0.2))
    names = [f"image_{number:05d}" for number in range(num_images)]
    return pd.DataFrame(
        {
            "image_id": names,
            "dataset": COHORT,
            "group_id": [f"group_{number:05d}" for number in group],
            "target": target,
            "split": split_of_group[group],
            "diagnosis_class": np.where(target == 1, "melanoma", "nevus"),
            "picture_digest": names,
        }
    )


def _pack(folder: Path, index: pd.DataFrame, sizes: tuple[int, ...]) -> None:
    """A packed cohort of smooth colours with grain."""
    folder.mkdir()
    sha256_of_size = {}
    for size in sizes:
        path = folder / packed.images_name(size)
        array = np.lib.format.open_memmap(path, "w+", np.uint8, (len(index), size, size, 3))
        rng = np.random.default_rng(1)
        grain = rng.integers(-20, 21, (size, size, 1))
        for at, target in enumerate(index["target"]):
            colours = rng.integers(90, 220 - 40 * target, (4, 4, 3)).astype(np.uint8)
            smooth = cv2.resize(colours, (size, size), interpolation=cv2.INTER_LINEAR)
            array[at] = np.clip(smooth + grain, 0, 255)
        array.flush()
        sha256_of_size[size] = sha256_of_file(path)
    index.to_parquet(folder / packed.INDEX, index=False)
    manifest = {
        "digest": packed.digest_of(folder, sha256_of_size),
        "num_images": len(index),
        "sha256_of_size": {str(size): sha256 for size, sha256 in sha256_of_size.items()},
        "is_synthetic": True,
        "positive": ["melanoma"],
    }
    files.write_json(manifest, folder / packed.MANIFEST)


def _describe(folder: Path, index: pd.DataFrame) -> None:
    """Records and facts of the images, with about 30 slices."""
    from melanoma.data.checks.facts import FACT_DTYPES

    rng, num = np.random.default_rng(2), len(index)
    drawn: dict[str, Any] = {
        "diagnosis": rng.choice(["melanoma", "nevus", "benign keratosis", "dermatofibroma"], num),
        "age_years": rng.integers(15, 90, num),
        "sex": rng.choice(["female", "male"], num),
        "anatom_site": rng.choice(["back", "arm", "leg", "head", "chest"], num),
        "source_collection": rng.choice(["one", "other", "third"], num),
        "is_synthetic": True,
        "path": index["image_id"],
    }
    records = index[["image_id", "dataset", "target"]].assign(**drawn)
    records = schema.conform_records(records).assign(sha256=lambda rows: rows["image_id"])
    facts = (
        pd.DataFrame({"image_id": index["image_id"]}).reindex(columns=list(FACT_DTYPES)).astype(FACT_DTYPES)
    )
    numbers = [name for name, dtype in FACT_DTYPES.items() if dtype == "Float64"]
    facts[numbers] = rng.random((num, len(numbers))) * 100
    facts[["width", "height", "num_bytes"]] = rng.integers(500, 900, (num, 3))
    facts[["format", "mode"]] = ["JPEG", "RGB"]
    for name, table in (("accepted", records), ("facts", facts)):
        (folder / name).mkdir()
        table.to_parquet(folder / name / f"{COHORT}.parquet")


def _runs_and_seeds(folder: Path) -> None:
    from melanoma import tracking
    from melanoma.evaluation import seeds

    runs = {}
    tracking.client().create_experiment(COHORT, artifact_location=str(folder / "artifacts"))
    for model in schema.MODEL_NAMES:
        with tracking.open_run(experiment=COHORT, name=model, tags={}) as run:
            runs[model] = run.run_id
    scores = pd.DataFrame(
        [
            {"model": model, "seed": 1, "val_auc_roc": 0.7 + 0.1 * at}
            for at, model in enumerate(schema.MODEL_NAMES)
        ]
    )
    files.write_json(runs, folder / "runs.json")
    served = {"seeds": [1], "learned_from": seeds.ALL, "scored_on": seeds.HOLDOUT}
    networks = dict.fromkeys(schema.MODEL_NAMES, served)
    comparison = seeds.compare(scores, changed={"sampling_power": (1.0, 0.5)}, networks=networks)
    files.write_json(comparison, folder / "seeds.json")


def _arguments(folder: Path) -> argparse.Namespace:
    """The command lines of both stages."""
    names = (
        "packed",
        "accepted",
        "facts",
        "figures",
        "sheets",
        "plots",
        "diagnosis",
        "unlike",
        "segmenter",
        "boxes",
    )
    (folder / "plots").mkdir()
    return argparse.Namespace(
        cohort=COHORT,
        baseline=folder / "models" / "baseline",
        tuned=folder / "models" / "tuned",
        out=folder / "audit.json",
        **{name: folder / name for name in names},
        **{
            name: folder / f"{name}.json"
            for name in ("runs", "seeds", "metrics", "scores", "models", "slices")
        },
        **{name: folder / f"{name}.csv" for name in ("predictions", "roc", "references")},
    )


def _timed(do: Callable[..., Any], stage: str, part: str, rows: list[dict[str, Any]]) -> Callable[..., Any]:
    """A function that does the same and notes how long it took."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        seconds, processor = time.perf_counter(), time.process_time()
        found = do(*args, **kwargs)
        rows.append(
            {
                "stage": stage,
                "part": part,
                "seconds": time.perf_counter() - seconds,
                "processor_seconds": time.process_time() - processor,
            }
        )
        print(
            "{stage:9} {part:28} {seconds:6.1f} s, processor {processor_seconds:6.1f} s".format(**rows[-1]),
            flush=True,
        )
        return found

    return timed


@contextmanager
def _timed_parts(stage: str, rows: list[dict[str, Any]]) -> Iterator[None]:
    import importlib

    replaced = []
    for part, (module_name, name) in PARTS.items():
        module = importlib.import_module(module_name)
        do = getattr(module, name)
        replaced.append((module, name, do))
        setattr(module, name, _timed(do, stage, part, rows))
    try:
        yield
    finally:
        for module, name, do in replaced:
            setattr(module, name, do)


if __name__ == "__main__":
    sys.exit(main())
