"""Parse and check requests to the served model before anything is decoded.

MLflow's scoring server answers some faults with a stack trace, with the whole body, or not at all (see
`server`), so the body is parsed here. Parsing holds Python's lock, so brackets and commas are counted first:
a body of millions of tiny values is refused within milliseconds.
"""

import base64
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from melanoma.data.signatures import stored_size
from melanoma.errors import MelanomaError, first_offenders

JSON = "application/json"
INVALID_JSON, TOO_LARGE, STOPPING = "invalid_json", "too_large", "stopping"  # kinds of refusals
COLUMNS = ("image", "image_id", "group_id")
PARAMS = {"threshold": ((int, float), "a number"), "explain": ((bool,), "true or false")}
SPLIT, RECORDS = "dataframe_split", "dataframe_records"
EXAMPLE = '{"dataframe_split": {"columns": ["image"], "data": [["<base64 of an image file>"]]}}'
MEGABYTE = 2**20
MEGAPIXEL = 1_000_000
ROW_BYTES = 2048  # per row beside the image: its ids, quotes and commas
MAX_ID_LENGTH = 256  # characters of an image_id or group_id
FEW_MARKS = 500_000  # brackets, colons and commas that are always parsed: at most 50 ms and 50 MB
ROW_MARKS = 2 * MAX_ID_LENGTH + 32  # per row, including those in its ids
DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
URL_SAFE = str.maketrans("-_", "+/")
FORBIDDEN = {"Cc", "Cs", "Zl", "Zp"}  # categories of characters: control, half of a pair, line separators


class RequestError(MelanomaError):
    """A refused request; `status` is the HTTP status of the answer.

    `closes` means that the connection is closed as well, because the rest of the request cannot be separated
    from the next one. `reasons` says by the number of a row why it is refused. `kind` is a word of
    `metrics.REASONS`; None if the status or the rows say it.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        *,
        closes: bool = False,
        reasons: Mapping[int, str] = MappingProxyType({}),
        kind: str | None = None,
    ) -> None:
        """Create a refusal with a message for the client."""
        super().__init__(message)
        self.status, self.closes, self.reasons, self.kind = status, closes, reasons, kind


def rows_refused(reasons: Mapping[int, str], num_rows: int) -> RequestError:
    """The refusal of a request because of some of its rows; names the first five."""
    words = first_offenders(f"row {number}: {reason}" for number, reason in reasons.items())
    return RequestError(f"{len(reasons)} of {num_rows} rows refused: {words}", reasons=reasons)


@dataclass(frozen=True)
class Posted:
    """A valid request.

    Attributes:
        images: Encoded images.
        image_ids: Id of each image, or None.
        group_ids: Patient or lesion of each image, or None.
        params: The given parameters of `PARAMS`; each has its type or is None.
    """

    images: Sequence[bytes]
    image_ids: Sequence[str | None]
    group_ids: Sequence[str | None]
    params: Mapping[str, Any]


def max_body_bytes(limits: Mapping[str, int]) -> int:
    """Largest body that is read: base64 makes 4 bytes of 3."""
    return limits["max_request_megabytes"] * MEGABYTE * 4 // 3 + (limits["max_rows"] + 1) * ROW_BYTES


def parse(body: bytes | bytearray, limits: Mapping[str, int]) -> Posted:
    """Images and parameters of a request.

    Args:
        body: JSON body.
        limits: See `settings.Settings`.

    Raises:
        RequestError: The request is not valid; names the first five bad rows by number.
    """
    _require_few_marks(body, limits["max_rows"])
    content = _read_json(body)
    params = _params(content)
    rows = _rows(content, limits["max_rows"])
    image_ids, group_ids = ([row.get(name) for row in rows] for name in ("image_id", "group_id"))
    return Posted(_images(rows), image_ids, group_ids, params)


def require_json(content_type: str | None) -> None:
    """Refuse a body that is not JSON by the header content-type, which may be absent."""
    kind, *options = [part.strip().lower() for part in (content_type or "").split(";")]
    if kind != JSON or not set(options) <= {"", "charset=utf-8"}:
        raise RequestError(f"expected the header content-type: {JSON}, got {content_type!r}", 415)


def _require_few_marks(body: bytes | bytearray, max_rows: int) -> None:
    most = max(FEW_MARKS, (max_rows + 1) * ROW_MARKS)
    num_marks = sum(body.count(mark) for mark in (b"[", b"{", b",", b":"))
    if num_marks > most:
        raise RequestError(
            f"the body has {num_marks:,} brackets, colons and commas, too many for {max_rows} rows of JSON"
        )


def _read_json(body: bytes | bytearray) -> dict[str, Any]:
    try:
        content = json.loads(
            str(body, "utf-8-sig"), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:  # no UTF-8 and numbers too long are ValueErrors too
        compressed = "; it looks compressed, send it uncompressed" if body[:2] == b"\x1f\x8b" else ""
        raise RequestError(
            f"the body is not JSON ({type(error).__name__}){compressed}; expected {EXAMPLE}",
            kind=INVALID_JSON,
        ) from error
    kind = sorted({SPLIT, RECORDS} & set(content)) if isinstance(content, dict) else []
    if len(kind) != 1 or not set(content) <= {*kind, "params"}:
        raise RequestError(
            f'expected an object with "{SPLIT}" or "{RECORDS}", and optionally "params", like {EXAMPLE}'
        )
    return dict(content)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; a duplicate key would be ambiguous."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = _shown({name for name, count in counts.items() if count > 1})
        raise RequestError(f"an object has a key twice: {twice}", kind=INVALID_JSON)
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise RequestError(f"{name} is not JSON; leave the value out, or send null", kind=INVALID_JSON)


def _params(content: Mapping[str, Any]) -> dict[str, Any]:
    params = {} if content.get("params") is None else content["params"]
    if not isinstance(params, dict):
        raise RequestError(f"params must be an object, got {type(params).__name__}")
    unknown = _shown(set(params) - set(PARAMS))
    if unknown:
        raise RequestError(f"unknown params.{unknown}; expected {', '.join(PARAMS)}")
    for name, (kinds, words) in PARAMS.items():
        value = params.get(name)
        if value is not None and type(value) not in kinds:  # not isinstance: true is an int
            raise RequestError(f"params.{name} must be {words}, got {type(value).__name__}")
    return params


def _rows(content: Mapping[str, Any], max_rows: int) -> list[dict[str, Any]]:
    """One mapping per row, with known columns only."""
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
        raise RequestError(
            f"{place}: expected the column image and optionally image_id and group_id, got {got}"
        )


def _shown(names: Collection[str]) -> str:
    """Names from the client, shortened to a readable length."""
    return first_offenders(name[:40] for name in sorted(names))


def _images(rows: list[dict[str, Any]]) -> list[bytes]:
    images, reasons = [], {}
    for number, row in enumerate(rows):
        try:
            images.append(_decoded(row["image"]))
            for name in ("image_id", "group_id"):
                _require_id(name, row.get(name))
        except RequestError as error:
            reasons[number] = str(error)
    if reasons:
        raise rows_refused(reasons, len(rows))
    return images


def require_affordable(images: Sequence[bytes], limits: Mapping[str, int]) -> int:
    """Refuse images by their length and their headers.

    Args:
        images: Encoded images.
        limits: See `settings.Settings`.

    Returns:
        Total number of pixels by the headers. An image without a header counts 0; decoding refuses it.

    Raises:
        RequestError: Too many bytes or pixels together, or an image with too many or too few pixels.
    """
    most, num_bytes = limits["max_request_megabytes"] * MEGABYTE, sum(map(len, images))
    if num_bytes > most:
        message = f"the images have {num_bytes:,} bytes together, at most {most:,} are allowed"
        raise RequestError(message, kind=TOO_LARGE)
    sizes = [stored_size(encoded) for encoded in images]
    reasons = {number: reason for number, size in enumerate(sizes) if (reason := _bad_size(size, limits))}
    if reasons:
        raise rows_refused(reasons, len(images))
    num_pixels = sum(width * height for width, height in filter(None, sizes))
    most = limits["max_request_megapixels"] * MEGAPIXEL
    if num_pixels > most:
        message = f"the images have {num_pixels:,} pixels together, at most {most:,} are allowed"
        raise RequestError(message, kind=TOO_LARGE)
    return num_pixels


def _bad_size(size: tuple[int, int] | None, limits: Mapping[str, int]) -> str | None:
    most, side = limits["max_image_megapixels"] * MEGAPIXEL, limits["min_image_side"]
    if size is None:
        return None
    width, height = size
    if width * height > most:
        return f"the image has {width} x {height} pixels, more than {most:,}"
    if min(size) < side:
        return f"the image has {width} x {height} pixels, each side needs at least {side}"
    return None


def _decoded(text: Any) -> bytes:
    """Bytes of base64, optionally as a data URL; either alphabet, padding and white space are optional."""
    if not isinstance(text, str):
        raise RequestError(f"image must be base64 of an image file, got {type(text).__name__}")
    prefix = DATA_URL.match(text)
    plain = text[prefix.end() :] if prefix else text
    try:
        return base64.b64decode(plain, validate=True)
    except ValueError:  # binascii.Error is one
        return _decoded_leniently(plain)


def _decoded_leniently(text: str) -> bytes:
    plain = "".join(text.split())
    if not set("+/") & set(plain):
        plain = plain.translate(URL_SAFE)
    if "=" not in plain:
        plain += "=" * (-len(plain) % 4)
    try:
        return base64.b64decode(plain, validate=True)
    except ValueError as error:  # letters that are not ASCII, too
        raise RequestError(
            "image must be base64 of an image file, and this string is not base64; in Python: "
            "base64.b64encode(encoded).decode()"
        ) from error


def _require_id(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise RequestError(f"{name} must be a string, got {type(value).__name__}")
    if len(value) > MAX_ID_LENGTH:
        raise RequestError(f"{name} has {len(value):,} characters, at most {MAX_ID_LENGTH} are allowed")
    if any(unicodedata.category(character) in FORBIDDEN for character in value):
        raise RequestError(f"{name} has control characters; remove them")
