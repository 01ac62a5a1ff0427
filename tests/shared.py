"""Folders that one process of the test session builds and all processes read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from filelock import FileLock


class Factory(Protocol):
    """The part of pytest's `tmp_path_factory` that is needed."""

    def getbasetemp(self) -> Path:
        """The temporary folder of this process."""


def build_once(factory: Factory, name: str, build: Callable[[Path], None]) -> Path:
    """The folder `name`, built by the first worker of pytest-xdist that asks for it.

    The other workers wait. A failed build is not repeated: it would only fail a second time. No test may
    change what lies there.

    Args:
        factory: pytest's `tmp_path_factory`.
        name: Name of the folder, one for each purpose.
        build: Fills an empty folder.

    Raises:
        RuntimeError: The build failed before.
    """
    top = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        top = top.parent  # each worker has a folder of its own below that of the session
    folder, done = top / name, top / f"{name}.done"
    with FileLock(top / f"{name}.lock"):
        if not done.exists():
            if folder.exists():
                raise RuntimeError(
                    f"The shared folder {folder} could not be built; see the first error of this run."
                )
            folder.mkdir()
            build(folder)
            done.touch()
    return folder
