"""Map a function over many items in processes, with a progress bar."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_workers: int,
    description: str,
) -> list[Result]:
    """`[function(item) for item in items]` over processes, in order; the first error is raised here.

    Args:
        function: Importable by name (it travels to other processes).
        items: Picklable values.
        num_workers: Processes; 0 takes one for each core. With 1, all work is done in this process.
        description: Shown before the progress bar (hidden where output is no terminal).
    """
    num_workers = min(num_workers or _num_cores(), max(len(items), 1))
    if num_workers == 1:
        return [function(item) for item in _progress(items, len(items), description)]
    chunk = max(1, min(32, len(items) // (4 * num_workers)))
    with ProcessPoolExecutor(num_workers) as pool:
        results = pool.map(function, items, chunksize=chunk)
        return list(_progress(results, len(items), description))


def _num_cores() -> int:
    """Cores that this process may use, where the system tells; else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _progress(iterable, total: int, description: str):  # type: ignore[no-untyped-def]
    return tqdm(iterable, total=total, desc=description, unit="image", disable=None)
