"""Map a function over many items in processes, with a progress bar.

Processes are forked from a server that has nothing but the function loaded: a fork of this process
would inherit the locks of threads in libraries (OpenCV, TensorFlow, Arrow) and could wait for ever.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain, islice
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from melanoma.errors import WorkerError, first_offenders
from melanoma.execution.devices import num_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_CHUNK = 16  # items that travel together
CHUNKS_AT_HAND = 4  # for each process: none waits, and memory use stays constant


def imap_processes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    num_items: int,
    num_workers: int,
    description: str,
    unit: str = "image",
    initializer: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """See `mapping.imap`; runs `num_workers` processes on this machine.

    0 starts one for each core; with 1 all work is done in this process.
    """
    num_workers = min(num_workers or num_cores(), max(num_items, 1))
    if num_workers == 1:
        results: Iterator[Result] = map(function, items)
    else:
        chunks = in_chunks(items, num_items=num_items, num_workers=num_workers)
        results = chain.from_iterable(
            _imap_chunks(function, chunks, num_workers=num_workers, initializer=initializer)
        )
    return iter(tqdm(results, total=num_items, desc=description, unit=unit, disable=None))


def _imap_chunks(
    function: Callable[[Item], Result],
    chunks: Iterator[list[Item]],
    *,
    num_workers: int,
    initializer: Callable[[], object] | None,
) -> Iterator[list[Result]]:
    at_hand: deque[tuple[list[Item], Future[list[Result]]]] = deque()
    pool = ProcessPoolExecutor(
        num_workers,
        mp_context=_context(function),
        initializer=_start_worker,
        initargs=(Path.cwd(), initializer),
    )
    try:
        while True:
            for chunk in islice(chunks, CHUNKS_AT_HAND * num_workers - len(at_hand)):
                at_hand.append((chunk, pool.submit(map_chunk, function, chunk)))
            if not at_hand:
                return
            yield at_hand[0][1].result()
            at_hand.popleft()
    except BrokenProcessPool as error:
        raise _killed([item for chunk, future in at_hand if _was_lost(future) for item in chunk]) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _context(function: Callable[..., object]) -> BaseContext:
    """Start method of processes; the server loads the module of `function` once for all of them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    named = function.func if isinstance(function, partial) else function
    context.set_forkserver_preload([__name__, named.__module__])
    return context


def _start_worker(folder: Path, initializer: Callable[[], object] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(folder)  # a server may have been started elsewhere
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    """End with the parent: otherwise workers of a killed parent would wait for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)


def map_chunk(function: Callable[[Item], Result], chunk: list[Item]) -> list[Result]:
    """`function` of each item of a chunk; in the worker."""
    return [function(item) for item in chunk]


def in_chunks(items: Iterable[Item], *, num_items: int, num_workers: int) -> Iterator[list[Item]]:
    """Items that travel together: few enough that all workers have some to the end."""
    size = max(1, min(MAX_CHUNK, num_items // (8 * num_workers)))
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def _was_lost(future: Future[list[Result]]) -> bool:
    return not future.done() or future.exception() is not None


def _killed(items: list[Item]) -> WorkerError:
    return WorkerError(
        f"A worker process was killed, most likely because memory ran out. It worked on one of {len(items)} "
        f"items: {first_offenders(items)}. Lower execution.num_workers in params.yaml, or check these files."
    )
