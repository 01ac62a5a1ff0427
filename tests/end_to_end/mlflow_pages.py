"""The pages of MLflow that `make ui` prints, while its server runs."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser import PATIENCE_SECONDS
from tests.end_to_end.clone import free_port, server
from tests.imports import ROOT


@contextmanager
def served_pages(folder: Path) -> Iterator[dict[str, str]]:
    """Start the server of the project in `folder`; the printed addresses by title."""
    port = free_port()
    command = [sys.executable, "-m", "pipelines.ui", "--no-browser", "--port", str(port)]
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    with server(folder, *command, url=f"http://127.0.0.1:{port}/health", settings=settings) as log:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "press Ctrl-C to stop" not in (text := log.read_text()):
            assert time.monotonic() < deadline, text
            time.sleep(0.3)
        yield dict(re.findall(r"^\[ui\] (.+)\n +(http\S+)$", text, flags=re.MULTILINE))
