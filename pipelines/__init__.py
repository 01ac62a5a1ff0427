"""One thin script per stage of dvc.yaml and per entry point of MLproject."""

import os
import sys
import warnings
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

# In this folder the script `inspect` would take the place of Python's own module, which libraries import.
HERE = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path).resolve() != HERE]

if find_spec("melanoma") is None:
    sys.exit(
        f"error: The packages of this project are not installed for {sys.executable}. "
        "Run `make install` once, and `source .venv/bin/activate` in each terminal."
    )

STARTED_AT = datetime.now(UTC)  # before imports that take seconds, so that moves meanwhile are noticed

# Read by the libraries when they are imported, so they must be set before any script's imports.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # notes about missing GPUs hide our own lines
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for every small file
# With its default, MLflow is silent for four minutes when the server is down; this is about one.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
# Of Keras's export to ONNX, which asks NumPy for names that are gone.
warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
