"""What may be posted to the served model: checked before anything is decoded.

MLflow's scoring server answers some faults with a stack trace, with the whole body, or not at all (see
`server`), so the body is read here.
"""

import base64
import binascii
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from melanoma.errors import MelanomaError, first_offenders

JSON = "application/json"
COLUMNS = ("image", "image_id")
PARAMS = {"threshold": ((int, float), "a number"), "explain": ((bool,), "true or false")}
SPLIT, RECORDS = "dataframe_split", "dataframe_records"
EXAMPLE = '{"dataframe_split": {"columns": ["image"], "data": [["<base64 of an image file>"]]}}'
MEGABYTE = 2**20
ROW_BYTES = 1024  # of the body beside the image: its id, quotes and commas


class RequestError(MelanomaError):
    """A request that is refused before scoring; `status` is the HTTP status of the answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        """A refusal in words for whoever posted."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Posted:
    """A request that may be scored.

    Attributes:
        images: The encoded files.
        image_ids: Of each; None where it has none.
        params: Of `PARAMS`, those that were given, each of its type or None.
    """

    images: Sequence[bytes]
    image_ids: Sequence[str | None]
    params: Mapping[str, Any]


def parse(body: bytes, content_type: str | None, limits: Mapping[str, int]) -> Posted:
    """Images and parameters of a request.

    Args:
        body: As it was posted.
        content_type: The header, None when there is none.
        limits: See `settings.Settings`.

    Raises:
        RequestError: What is wrong, what is expected, and the first five bad rows by their number.
    """
    _require_json(content_type)
    most = limits["max_request_megabytes"] * MEGABYTE
    most_body = most * 4 // 3 + (limits["max_rows"] + 1) * ROW_BYTES  # base64 makes 4 bytes of 3
    if len(body) > most_body:
        raise RequestError(f"the body has {len(body):,} bytes, at most {most_body:,} are taken", 413)
    content = _read_json(body)
    params = _params(content)
    rows = _rows(content, limits["max_rows"])
    return Posted(_images(rows), [row.get("image_id") for row in rows], params)


def _require_json(content_type: str | None) -> None:
    kind, *options = [part.strip().lower() for part in (content_type or "").split(";")]
    if kind != JSON or not set(options) <= {"", "charset=utf-8"}:
        raise RequestError(f"expected the header content-type: {JSON}, got {content_type!r}", 415)


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:  # no UTF-8 and numbers too long are ValueErrors too
        raise RequestError(f"the body is no JSON ({type(error).__name__}); expected {EXAMPLE}") from error
    kind = sorted({SPLIT, RECORDS} & set(content)) if isinstance(content, dict) else []
    if len(kind) != 1 or not set(content) <= {*kind, "params"}:
        raise RequestError(
            f'expected an object with "{SPLIT}" or "{RECORDS}", and perhaps "params", like {EXAMPLE}'
        )
    return dict(content)


def _params(content: Mapping[str, Any]) -> dict[str, Any]:
    params = {} if content.get("params") is None else content["params"]
    if not isinstance(params, dict):
        raise RequestError(f"params must be an object, got {type(params).__name__}")
    unknown = _shown(set(params) - set(PARAMS))
    if unknown:
        raise RequestError(f"params.{unknown} is not known; there are {', '.join(PARAMS)}")
    for name, (kinds, words) in PARAMS.items():
        value = params.get(name)
        if value is not None and type(value) not in kinds:  # not isinstance: true is an int
            raise RequestError(f"params.{name} must be {words}, got {type(value).__name__}")
    return params


def _rows(content: Mapping[str, Any], max_rows: int) -> list[dict[str, Any]]:
    """A mapping a row, each with the known columns only."""
    rows = _split_rows(content[SPLIT], max_rows) if SPLIT in content else content[RECORDS]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RequestError(f'"{RECORDS}" must be a list of objects')
    require_count(len(rows), max_rows)
    for number, row in enumerate(rows):
        _require_columns(row, f"row {number}")
    return rows


def _split_rows(split: Any, max_rows: int) -> list[dict[str, Any]]:
    if not isinstance(split, dict) or not {"columns", "data"} <= set(split) <= {"columns", "data", "index"}:
        raise RequestError(f'"{SPLIT}" must be an object with "columns" and "data", like {EXAMPLE}')
    columns, data = split["columns"], split["data"]
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise RequestError('"columns" must be a list of names')
    _require_columns(columns, '"columns"')
    if not isinstance(data, list):
        raise RequestError('"data" must be a list of rows')
    require_count(len(data), max_rows)
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise RequestError(f"row {number}: expected a list of {len(columns)} values")
    return [dict(zip(columns, row, strict=True)) for row in data]


def require_count(num_rows: int, max_rows: int) -> None:
    """Refuse no rows and too many."""
    if not 1 <= num_rows <= max_rows:
        raise RequestError(f"expected 1 to {max_rows} rows, got {num_rows}")


def _require_columns(names: Collection[str], place: str) -> None:
    unknown = _shown(set(names) - set(COLUMNS))
    if "image" not in names or unknown or len(set(names)) < len(names):
        got = _shown(names) or "none"
        raise RequestError(f"{place}: expected the column image and perhaps image_id, got {got}")


def _shown(names: Collection[str]) -> str:
    """Names that somebody else chose, cut to a length that can be read."""
    return first_offenders(name[:40] for name in sorted(names))


def _images(rows: list[dict[str, Any]]) -> list[bytes]:
    images, refused = [], []
    for number, row in enumerate(rows):
        try:
            images.append(_decoded(row["image"]))
            _require_id(row.get("image_id"))
        except RequestError as error:
            refused.append(f"row {number}: {error}")
    if refused:
        raise RequestError(f"{len(refused)} of {len(rows)} rows refused: {first_offenders(refused)}")
    return images


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise RequestError(f"image must be base64 of an image file, got {type(text).__name__}")
    try:
        return base64.b64decode("".join(text.split()) if "\n" in text else text, validate=True)
    except (binascii.Error, ValueError) as error:  # the latter: letters that are not ASCII
        raise RequestError("image must be base64 of an image file, which this text is not") from error


def _require_id(image_id: Any) -> None:
    if image_id is not None and not isinstance(image_id, str):
        raise RequestError(f"image_id must be a text, got {type(image_id).__name__}")
