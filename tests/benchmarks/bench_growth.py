"""Training input and steps as the packed array grows: images a second and memory, which should stay flat."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from melanoma import config
from tests.benchmarks.bench_fit import KERAS, speeds_of, where
from tests.benchmarks.contestants import ROOT, alternate, started
from tests.benchmarks.rows import Row, Spread, not_measured, ratios
from tests.benchmarks.sizes import Size

PART = "growth"
MIN_SPEED, MAX_MEMORY = 0.95, 1.1  # times those of the smallest array: what is called flat
SPARE = 2  # times the bytes to be written that must be free


def measure(size: Size, folder: Path) -> list[Row]:
    """Rows of images a second and of memory, a pair for each number of images."""
    needed = SPARE * sum(size.growth) * size.image_size**2 * 3
    if _free_bytes(folder) < needed:
        return [not_measured(PART, "growth", f"less than {needed / 2**30:.0f} GiB free in {folder}")]
    batch_size = config.load(ROOT / "params.yaml").baseline.batch_size
    turns = {}
    with ExitStack() as stack:
        for number in size.growth:
            task = {
                "ways": ["ours"],
                "array": str(_write_noise(folder / f"{number}.npy", number, size.image_size)),
                "image_size": size.image_size,
                "num_steps": size.growth_steps,
                "num_images": size.growth_steps * batch_size,
                "num_warmups": 1,
            }
            process = stack.enter_context(started(KERAS, task))
            turns[str(number)] = lambda process=process: process.turn("ours")
        answers = alternate(turns, size.num_rounds)
        note = where(process.about)
    return [*_speed_rows(speeds_of(answers), note), *_memory_rows(answers)]


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _write_noise(path: Path, num_images: int, side: int) -> Path:
    """An array of noise that repeats after 1,000 images: what it shows plays no part."""
    block = np.random.default_rng(0).integers(0, 256, (1000, side, side, 3), dtype=np.uint8)
    with path.open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (num_images, side, side, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, num_images, len(block)):
            stream.write(block[: num_images - start].data)
    return path


def _speed_rows(speeds: dict[str, list[float]], note: str) -> list[Row]:
    first = next(iter(speeds))
    rows = [Row(PART, f"training on {int(first):,} images", "images/s", Spread.of(speeds[first]), note=note)]
    for number, own in list(speeds.items())[1:]:
        ratio = ratios(own, speeds[first], to=f"{int(first):,}", at_least=MIN_SPEED)
        rows.append(Row(PART, f"training on {int(number):,} images", "images/s", Spread.of(own), ratio))
    return rows


def _memory_rows(answers: dict[str, list[dict]]) -> list[Row]:
    """Of its own, at the end of each turn; pages of the mapped array are the system's cache."""
    held = {number: [answer["anonymous_mib"] for answer in told] for number, told in answers.items()}
    first = next(iter(held))
    rows = [
        Row(PART, f"memory at {int(first):,} images", "MiB", Spread.of(held[first]), note="anonymous pages")
    ]
    for number, own in list(held.items())[1:]:
        ratio = ratios(own, held[first], to=f"{int(first):,}", at_most=MAX_MEMORY)
        rows.append(Row(PART, f"memory at {int(number):,} images", "MiB", Spread.of(own), ratio))
    return rows
