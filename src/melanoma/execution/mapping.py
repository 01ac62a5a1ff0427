"""Map a function over many items on the backend of `params.yaml: execution`, with a progress bar."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import TypeVar

from tqdm import tqdm

from melanoma.config.data import Execution
from melanoma.execution.processes import imap_processes, in_chunks, map_chunk

Item = TypeVar("Item")
Result = TypeVar("Result")


def imap(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    num_items: int,
    execution: Execution,
    description: str,
    unit: str = "image",
    initializer: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` of each item, in order; the first error is raised here.

    Items are taken as results are consumed: memory holds a few chunks of both.

    Args:
        function: Importable by name (it travels to other processes), or a `partial` of such a one.
        items: Picklable values.
        num_items: Number of items.
        execution: `params.yaml: execution`. On Ray, `num_workers` 0 takes all CPUs of the cluster.
        description: Shown before the progress bar (hidden where output is no terminal).
        unit: Name of an item in the progress bar.
        initializer: Called once in each new process.

    Raises:
        WorkerError: A process was killed (on Ray: again and again); names the items it may have worked on.
        ConfigError: There is no Ray, or no cluster.
    """
    if execution.backend == "processes":
        return imap_processes(
            function,
            items,
            num_items=num_items,
            num_workers=execution.num_workers,
            description=description,
            unit=unit,
            initializer=initializer,
        )
    results = chain.from_iterable(_imap_ray(function, items, num_items, execution, initializer))
    return iter(tqdm(results, total=num_items, desc=description, unit=unit, disable=None))


def _imap_ray(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_items: int,
    execution: Execution,
    initializer: Callable[[], object] | None,
) -> Iterator[list[Result]]:
    if num_items == 0:
        return
    from melanoma.execution import ray_cluster  # noqa: PLC0415  # an extra, and slow to import

    with ray_cluster.connect(execution.ray_address):
        num_workers = execution.num_workers or ray_cluster.num_cpus()
        yield from ray_cluster.imap_chunks(
            partial(map_chunk, function),
            in_chunks(items, num_items=num_items, num_workers=num_workers),
            num_workers=execution.num_workers,
            initializer=initializer,
        )
