"""`inspect` with two processes against the same facts in a plain loop, side by side.

Run by `make bench-data`. Needs the real images (MELANOMA_REAL_DATA); writes nothing. Ends with exit code 1
when the plain loop takes less than three times as long.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not at the top: each worker process imports this file anew, and needs little
    import pandas as pd

    from melanoma.config.data import Inspect

ROOT = Path(__file__).resolve().parents[2]
NUM_REPEATS = 5
NUM_WORKERS = 2
MIN_RATIO = 3.0  # of the plain loop's time to that of inspect
MEMORY_IMAGES = 1000  # and four times as many


def main() -> int:
    """Print ratios and peaks of memory; 1 when inspect is too slow."""
    data = (ROOT / os.environ.get("MELANOMA_REAL_DATA", "../shared/data")).resolve()
    if not data.is_dir():
        print(f"no real images at {data}; set MELANOMA_REAL_DATA", file=sys.stderr)
        return 1
    from melanoma import config

    settings = config.load(ROOT / "params.yaml").inspect
    print(f"inspect with {NUM_WORKERS} processes against one; median of {NUM_REPEATS} alternating repeats")
    ratios = {
        name: _compare(name, records, settings)
        for name, records in (("isic_originals", _originals(data)), ("ph2", _ph2(data)))
    }
    _report_memory(_ph2(data), settings)
    too_low = {name: ratio for name, ratio in ratios.items() if ratio < MIN_RATIO}
    for name, ratio in too_low.items():
        message = f"{name}: the plain loop takes {ratio:.2f} times inspect, expected at least {MIN_RATIO:g}"
        print(message, file=sys.stderr)
    return 1 if too_low else 0


def _originals(data: Path) -> pd.DataFrame:
    return _records(sorted((data / "isic_originals").glob("*.jpg")), {})


def _ph2(data: Path) -> pd.DataFrame:
    paths = sorted((data / "ph2" / "images").glob("*.jpg"))
    return _records(paths, {path: data / "ph2" / "masks" / f"{path.stem}_lesion.png" for path in paths})


def _records(paths: list[Path], masks: dict[Path, Path]) -> pd.DataFrame:
    import pandas as pd

    masked = [str(masks[path]) if path in masks else None for path in paths]
    return pd.DataFrame(
        {"image_id": [path.stem for path in paths], "path": list(map(str, paths)), "mask_path": masked}
    )


# ---- speed -----------------------------------------------------------------------------------


def _compare(name: str, records: pd.DataFrame, settings: Inspect) -> float:
    """The plain loop's time in times of inspect, the median of all repeats."""
    from tests.benchmarks.plain_inspect import careful_facts, plain_facts

    ways: dict[str, Callable[[], object]] = {
        "inspect": lambda: _inspect(records, settings),
        "plain loop": lambda: _loop(records, plain_facts, settings),
        "careful loop": lambda: _loop(records, careful_facts, settings),
    }
    print(
        f"\n{name}: {len(records)} images; first run of inspect, processes started: "
        f"{_seconds(ways['inspect']):.2f} s"
    )
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(NUM_REPEATS):
        for way, work in ways.items():
            seconds[way].append(_seconds(work))
    medians = {}
    for way, measured in seconds.items():
        ratios = [other / own for other, own in zip(measured, seconds["inspect"], strict=True)]
        medians[way] = statistics.median(ratios)
        print(
            f"  {way:13} {statistics.median(measured) / len(records) * 1000:7.1f} ms an image"
            f"   {medians[way]:5.2f} times inspect ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return medians["plain loop"]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _inspect(records: pd.DataFrame, settings: Inspect) -> object:
    from tests.data.inspecting import inspect_images
    from tests.execution.backends import processes

    return inspect_images(
        records, root=Path("/"), settings=settings, execution=processes(NUM_WORKERS), description="inspect"
    )


def _loop(records: pd.DataFrame, function: Callable[..., object], settings: Inspect) -> list[object]:
    rows = zip(records["path"], records["mask_path"], strict=True)
    return [function(Path(path), None if mask is None else Path(mask), settings) for path, mask in rows]


# ---- memory ----------------------------------------------------------------------------------


def _report_memory(records: pd.DataFrame, settings: Inspect) -> None:
    print("\npeak memory (resident) while facts are streamed")
    for num_images in (MEMORY_IMAGES, 4 * MEMORY_IMAGES):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            parent, worker = pool.submit(_peak_memory, records, num_images, settings).result()
        print(f"  {num_images:5} images: parent {parent:4.0f} MiB, largest worker {worker:4.0f} MiB")


def _peak_memory(records: pd.DataFrame, num_images: int, settings: Inspect) -> tuple[float, float]:
    """MiB of this process and of its largest worker."""
    from melanoma.data.checks import facts
    from tests.execution.backends import processes

    largest_worker = 0.0
    repeated = (records.iloc[[number % len(records)]] for number in range(num_images))
    for _ in facts.inspect_groups(
        repeated,
        root=Path("/"),
        settings=settings,
        num_images=num_images,
        execution=processes(NUM_WORKERS),
        description="memory",
    ):
        pids = [worker.pid for worker in multiprocessing.active_children()]
        largest_worker = max([largest_worker, *map(_peak_mebibytes, pids)])
    return _peak_mebibytes(os.getpid()), largest_worker


def _peak_mebibytes(pid: int | None) -> float:
    """The most memory that a process ever held, as Linux tells; 0 of one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
