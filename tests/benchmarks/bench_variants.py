"""What else may pay: 16 bits, the other place for warping, JAX, several trainings at once."""

import importlib.util
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from melanoma.execution.devices import find_gpus
from tests.benchmarks import bench_pictures
from tests.benchmarks.bench_fit import KERAS, make_task, speeds_of, where
from tests.benchmarks.contestants import Answer, Process, Turn, alternate, started, turns_of
from tests.benchmarks.rows import Row, Spread, not_measured, ratios
from tests.benchmarks.sizes import Size

NAMES = {"ours_mixed": "mixed precision on", "ours_host": "warped on the host"}
AT_ONCE, AT_ONCE_ON_GPU = (2,), (2, 4)


def measure_variants(size: Size, folder: Path) -> list[Row]:
    """Ours as it is, and with one switch turned."""
    part = "variants"
    task = _task(size, folder, size.num_images // 2)
    ways = ["ours", "ours_mixed"]
    if find_gpus():
        ways.append("ours_host")
    with started(KERAS, task | {"ways": ways}) as process:
        speeds = speeds_of(alternate(turns_of(process, ways), max(size.num_rounds - 2, 1)))
        about = process.about
    plain = Row(part, "ours as in params.yaml", "images/s", Spread.of(speeds["ours"]), note=where(about))
    return [
        plain,
        *(
            Row(part, NAMES[way], "images/s", Spread.of(own), ratios(own, speeds["ours"], to="without"))
            for way, own in speeds.items()
            if way != "ours"
        ),
    ]


def measure_backbone(size: Size, folder: Path) -> list[Row]:
    """The network of section `backbone` at its own size: the roof, ours, and ours in 16 bits."""
    part = "backbone"
    size = replace(size, image_size=size.backbone_size)
    task = _task(size, folder, size.num_images // 4) | {"section": part}
    ways = ["roof_numpy", "roof_tensors", "ours", "ours_mixed"]
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        ways.remove("roof_tensors")
    with started(KERAS, task | {"ways": ways}) as process:
        speeds = speeds_of(alternate(turns_of(process, ways), size.num_rounds))
        about = process.about
    best = max(ways[:-2], key=lambda way: Spread.of(speeds[way]).median)
    to_roof = ratios(speeds["ours"], speeds[best], to=best.replace("_", ": ", 1), at_least=0.95)
    mixed = ratios(speeds["ours_mixed"], speeds["ours"], to="without")
    note = f"{task['num_images']} images of {task['image_size']} pixels an epoch; {where(about)}"
    return [
        *(Row(part, way.replace("_", ": ", 1), "images/s", Spread.of(speeds[way])) for way in ways[:-2]),
        Row(part, "ours, all augmentation", "images/s", Spread.of(speeds["ours"]), to_roof, note),
        Row(part, NAMES["ours_mixed"], "images/s", Spread.of(speeds["ours_mixed"]), mixed),
    ]


def measure_jax(size: Size, folder: Path) -> list[Row]:
    """Ours and the roof on the JAX backend."""
    part = "jax"
    if not importlib.util.find_spec("jax"):
        return [not_measured(part, "ours on JAX", "jax is not installed")]
    task = _task(size, folder, size.num_jax_images)
    ways = ["ours", "roof_numpy"]
    with started(KERAS, task | {"ways": ways}, KERAS_BACKEND="jax") as process:
        speeds = speeds_of(alternate(turns_of(process, ways), max(size.num_rounds - 2, 1)))
        note = where(process.about)
    ratio = ratios(speeds["ours"], speeds["roof_numpy"], to="roof: numpy")
    return [
        Row(part, "roof: numpy", "images/s", Spread.of(speeds["roof_numpy"]), note=note),
        Row(part, "ours on JAX", "images/s", Spread.of(speeds["ours"]), ratio),
    ]


def measure_together(size: Size, folder: Path) -> list[Row]:
    """Images a second of one training, and of several at once on the same device, all together."""
    part, numbers = "together", AT_ONCE_ON_GPU if find_gpus() else AT_ONCE
    task = _task(size, folder, size.num_images // 2) | {"ways": ["ours"]}
    with ExitStack() as stack:
        processes = [stack.enter_context(started(KERAS, task)) for _ in range(max(numbers))]
        turns = {str(number): _at_once(processes[:number]) for number in (1, *numbers)}
        speeds = speeds_of(alternate(turns, max(size.num_rounds - 2, 1)))
        note = where(processes[0].about)
    rows = [Row(part, "1 training", "images/s", Spread.of(speeds["1"]), note=note)]
    for number in numbers:
        own = speeds[str(number)]
        ratio = ratios(own, speeds["1"], to="one")
        name = f"{number} at once, all together"
        rows.append(Row(part, name, "images/s", Spread.of(own), ratio))
    if not find_gpus():
        rows.append(not_measured(part, "several at once on a GPU", "no GPU"))
    return rows


def _at_once(processes: list[Process]) -> Turn:
    def turn() -> Answer:
        for process in processes:
            process.tell("ours")
        speeds = [process.hear()["images_per_second"] for process in processes]
        return {"images_per_second": len(speeds) * min(speeds)}  # until the last is done

    return turn


def _task(size: Size, folder: Path, num_images: int) -> dict[str, Any]:
    inside = folder / str(num_images)
    inside.mkdir(exist_ok=True)
    _, paths = bench_pictures.jpegs("isic", folder, num_images=num_images, drawn_side=256)
    return make_task(size, inside, paths)
