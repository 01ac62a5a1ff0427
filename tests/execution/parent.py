"""Programs that have workers: `python -m tests.execution.parent KIND FOLDER`."""

import sys
from pathlib import Path

from melanoma.execution.mapping import imap
from melanoma.execution.workers import open_workers
from tests.execution.backends import on_ray, processes
from tests.execution.tasks import announce_and_sleep, square


def main(kind: str, folder: Path) -> None:
    """Keep two workers busy, or for `local` end after a little work."""
    marks = [folder / "0.pid", folder / "1.pid"]
    match kind:
        case "workers":
            work(marks, processes())
        case "ray":
            work(marks, on_ray(None))
        case "mapping":
            list(imap(announce_and_sleep, marks, num_items=2, execution=processes(2), description="test"))
        case "local":
            print(list(imap(square, [1, 2, 3], num_items=3, execution=on_ray(None), description="test")))
            import ray

            print("running" if ray.is_initialized() else "stopped")


def work(marks: list[Path], execution) -> None:
    sizes = {"num_workers": 2, "workers_per_device": 1, "tasks_per_process": 9, "cpus_per_task": 1}
    with open_workers(announce_and_sleep, execution=execution, **sizes) as workers:
        for future in [workers.submit(mark) for mark in marks]:
            future.result()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
