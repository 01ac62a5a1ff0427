"""Workers that run one task after another; one that dies loses only its own task."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from melanoma.config.data import Execution
from melanoma.execution.worker_processes import process_slots

Task = TypeVar("Task")
Result = TypeVar("Result")


class Slot(Protocol):
    """Runs one task at a time, somewhere else."""

    def run(self, task: Any) -> Any:
        """The function's result or error; `WorkerError` when the process died."""

    def close(self) -> None:
        """Let the process go; it has no task."""

    def kill(self) -> None:
        """End process and task at once; called from another thread than `run`."""


class Workers(Generic[Task, Result]):
    """Open workers: a thread for each slot waits for its task.

    Attributes:
        num_slots: Tasks that can run at once.
    """

    def __init__(self, slots: Sequence[Slot], threads: ThreadPoolExecutor) -> None:
        """Workers for `slots`, with a thread each."""
        self.num_slots = len(slots)
        self._threads = threads
        self._free: SimpleQueue[Slot] = SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def submit(self, task: Task) -> Future[Result]:
        """Start a task in a free slot; more than `num_slots` wait for one.

        The future raises what the function raised, or `WorkerError` when its process or node died; the
        slot can then be used again.
        """
        return self._threads.submit(self._run, task)

    def _run(self, task: Task) -> Result:
        slot = self._free.get()
        try:
            result: Result = slot.run(task)
            return result
        finally:
            self._free.put(slot)


def open_workers(
    function: Callable[[Task], Result],
    *,
    execution: Execution,
    num_workers: int,
    workers_per_device: int,
    tasks_per_process: int,
    cpus_per_task: int,
) -> AbstractContextManager[Workers[Task, Result]]:
    """Workers for `function` on the backend of `execution`; all are gone when the context ends.

    After an error, Ctrl-C too, tasks that still run are killed; else they are waited for.

    Args:
        function: Importable by name.
        execution: `params.yaml: execution`.
        num_workers: Slots; 0 takes `workers_per_device` for each GPU, or one where there is none (on a Ray
            cluster without GPUs as many as it has CPUs for).
        workers_per_device: Number of workers that share a GPU.
        tasks_per_process: After so many a process is replaced, because Keras leaks memory (optuna#1178).
        cpus_per_task: What Ray sets aside for a task.

    Raises:
        ConfigError: There is no Ray, no cluster, or no node with so many CPUs.
    """
    if execution.backend == "ray":
        return _open_ray(
            function,
            execution.ray_address,
            num_workers=num_workers,
            workers_per_device=workers_per_device,
            tasks_per_process=tasks_per_process,
            cpus_per_task=cpus_per_task,
        )
    return _open_slots(
        process_slots(
            function,
            num_workers=num_workers,
            workers_per_device=workers_per_device,
            tasks_per_process=tasks_per_process,
        )
    )


@contextmanager
def _open_slots(slots: Sequence[Slot]) -> Iterator[Workers[Any, Any]]:
    threads = ThreadPoolExecutor(len(slots), thread_name_prefix="slot")
    try:
        yield Workers(slots, threads)
        threads.shutdown()
    except BaseException:
        for slot in slots:
            slot.kill()
        threads.shutdown(cancel_futures=True)
        raise
    finally:
        for slot in slots:
            slot.close()


@contextmanager
def _open_ray(function: Callable[..., Any], address: str | None, **sizes: int) -> Iterator[Workers[Any, Any]]:
    from melanoma.execution import ray_cluster  # noqa: PLC0415  # an extra, and slow to import

    with ray_cluster.connect(address), _open_slots(ray_cluster.ray_slots(function, **sizes)) as workers:
        yield workers
