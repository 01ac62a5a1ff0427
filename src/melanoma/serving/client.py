"""HTTP client of a served model. It does not travel with the model."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import requests

from melanoma.errors import TrackingError, first_offenders

TIMEOUT_SECONDS = 120
DIGEST = "image_sha256"  # in each row of an answer


def request_body(
    images: Mapping[str, bytes], groups: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """JSON body of a request that scores images, given by image_id, optionally with patient or lesion."""
    data: list[list[Any]] = [
        [image_id, base64.b64encode(encoded).decode()] for image_id, encoded in images.items()
    ]
    columns = ["image_id", "image"]
    if groups is not None:  # models of earlier code refuse the column
        columns, data = [*columns, "group_id"], [[*row, groups.get(row[0])] for row in data]
    return {"dataframe_split": {"columns": columns, "data": data}}


def post_images(
    url: str,
    images: Mapping[str, bytes],
    params: Mapping[str, Any] | None = None,
    *,
    groups: Mapping[str, str | None] | None = None,
) -> requests.Response:
    """Post encoded images to `/invocations`.

    Args:
        url: Address of the server, for instance http://127.0.0.1:5001.
        images: Encoded images by image_id.
        params: Parameters `threshold` and `explain`.
        groups: Patient or lesion by image_id.

    Raises:
        TrackingError: The server does not answer.
    """
    body = request_body(images, groups) | ({"params": dict(params)} if params else {})
    try:
        return requests.post(f"{url.rstrip('/')}/invocations", json=body, timeout=TIMEOUT_SECONDS)
    except requests.RequestException as error:
        raise TrackingError(
            f"No answer from {url} ({type(error).__name__}). Start a server with `make serve`; `curl "
            "<url>/ping` answers when it is ready."
        ) from error


def score_images(url: str, images: Mapping[str, bytes]) -> Sequence[Mapping[str, Any]]:
    """Score images; the answers have one row per image, in their order.

    Raises:
        TrackingError: The server refuses, or its answers belong to other images.
    """
    response = post_images(url, images)
    if not response.ok:
        raise TrackingError(f"{url} answered {response.status_code}: {response.text[:500]}")
    digests = {image_id: hashlib.sha256(encoded).hexdigest() for image_id, encoded in images.items()}
    try:
        rows: list[dict[str, Any]] = response.json()["predictions"]
        answered = [row["image_id"] for row in rows]
        other = [row["image_id"] for row in rows if not _is_about(row, digests)]
    except (ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f"{url} is not a server of this project's models: {response.text[:500]}"
        ) from error
    if other:
        raise TrackingError(f"{url} answered for images that were not posted: {first_offenders(other)}.")
    if answered != list(images):
        raise TrackingError(
            f"{url} answered {len(answered)} rows, which do not match the {len(images)} posted images."
        )
    return rows


def _is_about(row: Mapping[str, Any], digests: Mapping[str, str]) -> bool:
    """Whether an answer has the digest of the image that was posted with its id.

    Models that were logged before answers had a digest return none.
    """
    expected = digests.get(row["image_id"])
    return bool(row.get(DIGEST, expected) == expected)
