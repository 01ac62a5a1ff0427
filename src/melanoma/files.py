"""Read and write files; every write is atomic.

Writers work beside the final path and rename at the end, so a killed stage leaves no partial output behind.
New files and folders get the permissions of the user's umask, unlike those of `tempfile` and
`shutil.copytree`.
"""

import csv
import hashlib
import json
import math
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from melanoma.errors import DataError


@contextmanager
def exclusive_lock(path: Path, what: str) -> Iterator[None]:
    """Let one process of this machine at a time in. Released by the operating system even after a crash.

    Args:
        path: Lock file; created if it does not exist.
        what: What is worked on, for the error message.

    Raises:
        DataError: Another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=0):
            yield
    except Timeout as error:
        raise DataError(
            f"Another process is using {what} (lock {path}), possibly a stage that kept running after its "
            "`dvc` was killed. Wait for it or stop it, then run the same command again."
        ) from error


def plain_name(text: str, *, max_length: int = 100) -> str:
    """A safe name of a file or folder for any text; it cannot lead to another folder.

    Letters of other alphabets, blanks and separators become underscores. A changed or shortened name gets a
    digest of the text, so that different texts have different names.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", text).lstrip(".")
    if plain and plain == text and len(plain) <= max_length:
        return plain
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{plain[: max_length - len(digest) - 1]}-{digest}"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _unfinished(path, path.suffix)
    unfinished.touch(exist_ok=False)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces `path` when the block ends without an error.

    If `path` is a link to a folder, the folder is replaced and the link stays.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _unfinished(path)
    unfinished.mkdir()
    try:
        yield unfinished
        _swap_in(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(path: Path, suffix: str = "") -> Path:
    """A unique hidden path beside `path`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{suffix}")


def _swap_in(new: Path, path: Path) -> None:
    """Put folder `new` at `path`; the old folder is moved aside first and removed last."""
    if not path.exists():
        new.rename(path)
        return
    aside = new.with_name(new.name + ".old")
    path.rename(aside)
    try:
        new.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a JSON object; nan, which JSON does not have, becomes null."""
    with atomic_file(path) as unfinished:
        text = json.dumps(_nan_to_none(content), indent=2, allow_nan=False, ensure_ascii=False)
        unfinished.write_text(text + "\n", encoding="utf-8")


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(content: dict[str, Any]) -> dict[str, Any]:
    """`content` as `read_json` would return it: nan is None."""
    converted: dict[str, Any] = _nan_to_none(content)
    return converted


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; null stays None.

    Raises:
        DataError: The file is missing, is not JSON, or does not hold an object.
    """
    require(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({error}). Remove it and run `dvc repro`.") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} must be a JSON object, got {type(content).__name__}. Remove it and run `dvc repro`."
        )
    return content


@contextmanager
def expect_schema(path: Path) -> Iterator[None]:
    """Report content of `path` that the block cannot read as a file of another version.

    Raises:
        DataError: A key is missing, or a value has another type or shape than this version writes.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        lacking = f"lacks {error}" if isinstance(error, KeyError) else f"does not fit ({error})"
        raise DataError(
            f"{path} {lacking}: it was written by another version of the code, or changed. Remove it and "
            "run `dvc repro`."
        ) from error


def sha256_of_json(content: Any) -> str:
    """Hex digest of a JSON object, independent of the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(text: str, path: Path) -> None:
    """Write a text file in UTF-8."""
    with atomic_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_bytes(content: bytes, path: Path) -> None:
    """Write a file."""
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(content)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` without its index, with Unix newlines and blanks for missing values."""
    with atomic_file(path) as unfinished:
        frame.to_csv(unfinished, index=False, lineterminator="\n", quoting=_quoting(frame))


def csv_text(frame: pd.DataFrame) -> str:
    """What `write_csv` writes."""
    return str(frame.to_csv(index=False, lineterminator="\n", quoting=_quoting(frame)))


def _quoting(frame: pd.DataFrame) -> Literal[0, 1]:
    """All cells if one holds a carriage return, which Python before 3.13 does not quote; else as needed."""
    cells = (frame[name].astype("string") for name in frame.select_dtypes(exclude="number"))
    has_return = any(column.str.contains("\r", regex=False).any() for column in cells)
    return csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` without its index."""
    with atomic_file(path) as unfinished:
        frame.to_parquet(unfinished, index=False)


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a frame that an earlier stage wrote.

    Raises:
        DataError: The file is missing.
    """
    require(path)
    try:
        return pd.read_parquet(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise _no_parquet(path, error) from error


def write_parquet_groups(frames: Iterable[pd.DataFrame], path: Path, schema: pa.Schema) -> None:
    """Write `frames` as row groups of one file; one frame is in memory at a time.

    Args:
        frames: Frames with the columns of `schema`; their indices are not written.
        path: Output file; it stays unchanged if a frame cannot be made or written.
        schema: Types of the columns, which a frame with missing values only does not show.
    """
    with atomic_file(path) as unfinished, pq.ParquetWriter(unfinished, schema) as writer:
        for frame in frames:
            writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))


def read_parquet_groups(path: Path, columns: Sequence[str], *, size: int) -> Iterator[pd.DataFrame]:
    """Yield `columns` of a Parquet file, at most `size` rows at a time.

    Raises:
        DataError: The file is missing, is not Parquet, or lacks a column.
    """
    with _open_parquet(path) as table:
        missing = [column for column in columns if column not in table.schema_arrow.names]
        if missing:
            raise DataError(f"{path} lacks the columns {missing}; it has {table.schema_arrow.names}.")
        for batch in table.iter_batches(batch_size=size, columns=list(columns)):
            yield batch.to_pandas()


def num_parquet_rows(path: Path) -> int:
    """Number of rows of a Parquet file, read from its footer.

    Raises:
        DataError: The file is missing or is not Parquet.
    """
    with _open_parquet(path) as table:
        return int(table.metadata.num_rows)


def _open_parquet(path: Path) -> pq.ParquetFile:
    require(path)
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise _no_parquet(path, error) from error


def _no_parquet(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read as Parquet: {error}. Run `dvc repro --force`.")


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Read a CSV with pandas' `options`. Only blank cells are missing: an image may be called NA.

    Raises:
        DataError: The file is missing, empty or not CSV.
    """
    require(path)
    if "keep_default_na" not in options:
        options |= {"keep_default_na": False, "na_values": [""]}
    try:
        frame: pd.DataFrame = pd.read_csv(path, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}.") from error
    return frame


def require(path: Path) -> None:
    """Raise a `DataError` that says how to create `path` if it does not exist."""
    if not path.exists():
        raise DataError(
            f"{path} does not exist. Run `dvc repro`, which writes it; for data/raw/<dataset>, see `python "
            "-m pipelines.fetch --help` or run `dvc pull`."
        )


def copy_folder(source: Path, path: Path) -> None:
    """Copy the folder `source` to `path` and replace an existing one; permissions are not copied."""
    with atomic_folder(path) as unfinished:
        _copy_into(source, unfinished)


def _copy_into(source: Path, folder: Path) -> None:
    for path in source.iterdir():
        if path.is_dir():
            (folder / path.name).mkdir()
            _copy_into(path, folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)
