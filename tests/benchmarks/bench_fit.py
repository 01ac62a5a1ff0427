"""Training side by side: ours with all augmentation, the roof, Keras' own way from a folder, a PyTorch loop.

One epoch a turn, in rounds; the roof of a round is the fastest of three ways to have images at hand.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from melanoma import config
from tests.benchmarks import bench_pictures
from tests.benchmarks.contestants import ROOT, Answer, Turn, alternate, started, turns_of
from tests.benchmarks.rows import Row, Spread, not_measured, ratios
from tests.benchmarks.sizes import Size

PART = "fit"
KERAS = "tests.benchmarks.keras_contestant"
TORCH = "tests.benchmarks.plain_torch"
NUM_LOADER_PROCESSES = 1  # of the PyTorch loop: on two cores faster than none or two
PAPER_EPOCH_SECONDS, PAPER_EPOCH_IMAGES = 300, 1710  # as published; 60 % of its 2,850 images

NAMES = {
    "train": "train(), which also scores and keeps the best",
    "folder": "Keras' folder dataset and layers",
    "cached_folder": "the same with .cache()",
    "torch": "plain PyTorch loop",
    "torch_channels_last": "the same, channels last",
}
TARGETS = {"folder": 2.0, "torch": 1.5, "torch_channels_last": 1.5}


def measure(size: Size, folder: Path) -> list[Row]:
    """Rows of images a second and of ratios."""
    what, paths = bench_pictures.jpegs("isic", folder, num_images=size.num_images, drawn_side=256)
    task = make_task(size, folder, paths)
    with ExitStack() as stack:
        about, turns = stack.enter_context(_keras(task))
        torch_python = find_torch()
        if torch_python is not None:
            process = stack.enter_context(started(TORCH, task | _torch_task(), python=torch_python))
            turns |= turns_of(process, ["torch", "torch_channels_last"])
        answers = alternate(turns, size.num_rounds)
    speeds = speeds_of(answers)
    note = f"{size.num_images} {what} images an epoch; {where(about)}"
    return [*_compare(speeds, note), *_paper_rows(speeds["ours"], about["device_kind"])]


def make_task(size: Size, folder: Path, paths: Sequence[Path]) -> dict[str, Any]:
    """What all contestants are told, with the images packed and sorted into folders."""
    array, classes = folder / "squares.npy", folder / "classes"
    if not array.exists():
        bench_pictures.write_squares(list(paths), array, size=size.image_size)
        bench_pictures.link_by_class(list(paths), classes)
    return {
        "array": str(array),
        "folder": str(classes),
        "image_size": size.image_size,
        "num_images": len(paths),
        "num_warmups": 1,
    }


def where(about: Answer) -> str:
    """Backend and device of a contestant."""
    return f"{about['backend']} {about['backend_version']} on {about['device_kind']} {about['device_name']}"


def speeds_of(answers: Mapping[str, Sequence[Answer]]) -> dict[str, list[float]]:
    """Images a second of each, round by round."""
    return {name: [answer["images_per_second"] for answer in told] for name, told in answers.items()}


@contextmanager
def _keras(task: dict[str, Any]) -> Iterator[tuple[Answer, dict[str, Turn]]]:
    """All ways of this Python; `train` in a process of its own, because it clears Keras' session."""
    ways = ["ours", "roof_numpy", "roof_resident"]
    if importlib.util.find_spec("tensorflow"):
        ways += ["folder", "cached_folder"]
        if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
            ways.insert(1, "roof_tensors")
    with started(KERAS, task | {"ways": ways}) as process, started(KERAS, task | {"ways": ["train"]}) as seam:
        yield process.about, turns_of(process, ways) | turns_of(seam, ["train"])


def find_torch() -> str | None:
    """A Python that has torch: the one that TORCH_PYTHON names, or this one."""
    for python in (os.environ.get("TORCH_PYTHON"), sys.executable):
        if python and shutil.which(python):
            found = subprocess.run([python, "-c", "import torch, numpy"], capture_output=True, check=False)
            if found.returncode == 0:
                return python
    return None


def _torch_task() -> dict[str, Any]:
    params = config.load(ROOT / "params.yaml")
    baseline = params.baseline
    multiples = params.model.filter_multiples[: baseline.depth]
    return {
        "network": {
            "filters": [(baseline.filters or 0) * multiple for multiple in multiples],
            "dense_units": baseline.dense_units,
        },
        "learning_rate": baseline.learning_rate,
        "batch_size": baseline.batch_size,
        "augment": params.augment.paper.model_dump(),
        "num_loader_processes": NUM_LOADER_PROCESSES,
    }


# ---- rows ------------------------------------------------------------------------------------


def _compare(speeds: Mapping[str, list[float]], note: str) -> list[Row]:
    roofs = [name for name in speeds if name.startswith("roof")]
    best = max(roofs, key=lambda name: Spread.of(speeds[name]).median)
    rows = [_row(f"{name.replace('_', ': ', 1)}", speeds[name]) for name in roofs]
    ours = speeds["ours"]
    to_roof = ratios(ours, speeds[best], to=best.replace("_", ": ", 1), at_least=0.95)
    rows.append(Row(PART, "ours, all augmentation", "images/s", Spread.of(ours), to_roof, note))
    for name, label in NAMES.items():
        if name not in speeds:
            missing = "TensorFlow" if "folder" in name else "torch"
            rows.append(not_measured(PART, label, f"{missing} is not installed"))
        elif name == "train":
            ratio = ratios(speeds[name], speeds[best], to=best.replace("_", ": ", 1))
            rows.append(Row(PART, label, "images/s", Spread.of(speeds[name]), ratio))
        else:
            ratio = ratios(ours, speeds[name], to="this, ours", at_least=TARGETS.get(name))
            rows.append(Row(PART, label, "images/s", Spread.of(speeds[name]), ratio))
    return rows


def _row(name: str, speeds: Sequence[float]) -> Row:
    return Row(PART, name, "images/s", Spread.of(speeds))


def _paper_rows(ours: Sequence[float], device: str) -> list[Row]:
    """An epoch of as many images as the paper's, from the measured images a second."""
    name = f"epoch of {PAPER_EPOCH_IMAGES:,} images on a "
    seconds = [PAPER_EPOCH_IMAGES / speed for speed in ours]
    ratio = ratios([PAPER_EPOCH_SECONDS] * len(seconds), seconds, to="faster than the paper's 300 s")
    measured = Row(PART, name + device.upper(), "s", Spread.of(seconds), ratio)
    return [measured] if device == "gpu" else [measured, not_measured(PART, f"{name}GPU", "no GPU")]
