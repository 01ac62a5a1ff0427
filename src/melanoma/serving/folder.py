"""Score files with a served model in this process, with the same code and answers as over HTTP."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from melanoma.data.images import read_bytes
from melanoma.errors import DataError, ImageError, TrackingError

BATCH_SIZE = 16  # files at once: bounds the memory
COLUMNS = (
    "file",
    "image_sha256",
    "probability",
    "decision",
    "reason",
    "positive_means",
    "threshold",
    "model_version",
    "verification",
    "note",
    "problem",
)


def load_model(uri: str) -> Any:
    """The served model.

    Raises:
        TrackingError: There is no such model, or its files are not those that were logged.
    """
    try:
        return mlflow.pyfunc.load_model(uri)
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"{uri} cannot be loaded: {error}. Expected models:/<name>@<alias> or models:/<name>/<version> "
            "in the model registry at MLFLOW_TRACKING_URI. `dvc repro` registers a model."
        ) from error


def list_files(folder: Path) -> list[Path]:
    """All files below `folder` except hidden ones, relative to it and sorted.

    Raises:
        DataError: `folder` is not a folder, or holds no files.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give a folder with images.")
    found = sorted(
        Path(parent, name).relative_to(folder)
        for parent, folders, names in os.walk(folder)
        for name in names
        if not name.startswith(".")
    )
    if not found:
        raise DataError(f"{folder} has no files. Give a folder with JPEG, PNG, BMP or WebP images.")
    return found


def score_files(model: Any, folder: Path, names: Sequence[Path]) -> Iterator[list[dict[str, Any]]]:
    """Yield rows with the keys `COLUMNS`, a few files at a time.

    A file that cannot be scored gets its reason as `problem` and no answer.
    """
    for start in range(0, len(names), BATCH_SIZE):
        batch = names[start : start + BATCH_SIZE]
        images, problems = _read(folder, batch)
        answers = _score(model, images)
        yield [
            {
                **dict.fromkeys(COLUMNS),
                "file": str(name),
                "problem": problems.get(name),
                **answers.get(name, {}),
            }
            for name in batch
        ]


def _read(folder: Path, names: Sequence[Path]) -> tuple[dict[Path, bytes], dict[Path, str]]:
    images, problems = {}, {}
    for name in names:
        try:
            images[name] = read_bytes(folder / name)
        except ImageError as error:
            problems[name] = str(error)
    return images, problems


def _score(model: Any, images: dict[Path, bytes]) -> dict[Path, dict[str, Any]]:
    """Answer or `problem` by file. Bad files refuse a batch; then the others are scored without them."""
    if not images:
        return {}
    asked = pd.DataFrame({"image": pd.Series(images, dtype=object)})  # the index identifies the file of a row
    try:
        answer = model.predict(asked)
    except MlflowException as error:
        names = list(images)
        problems = {names[row]: reason for row, reason in getattr(error, "reasons", {}).items()}
        if problems:
            others = {name: images[name] for name in names if name not in problems}
            return {name: {"problem": reason} for name, reason in problems.items()} | _score(model, others)
        if len(images) > 1:  # too large only together, or a model of earlier code
            return {name: row for one in images.items() for name, row in _score(model, dict([one])).items()}
        problem = re.sub(r"^1 of 1 rows refused: row 0: ", "", str(error))
        return {name: {"problem": problem} for name in images}
    if set(answer.index) != set(images):
        raise TrackingError(
            f"The model answered {len(answer)} rows that cannot be matched to the {len(images)} images. Use "
            "a model that was logged by this project."
        )
    return dict(answer[[name for name in COLUMNS if name in answer]].to_dict("index"))
