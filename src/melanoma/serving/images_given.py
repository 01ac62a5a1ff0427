"""Images that Python code passes to `predict`: bytes are taken; for others the message says what to pass."""

import math
import re
from collections.abc import Iterable
from os import PathLike

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from PIL import Image

from melanoma.errors import first_offenders

BASE64 = re.compile(r"(data:[\w/+.-]+;base64,)?[A-Za-z0-9+/_\s-]{40,}={0,2}\s*")
WANTED = "pass the bytes of the image file"
ENCODE = 'stream = io.BytesIO(); image.save(stream, "PNG"); stream.getvalue()'
OF_BASE64 = (
    f"is base64 text; {WANTED}, base64.b64decode(text). `mlflow models predict` decodes base64 only in JSON: "
    "use -t json"
)
# What else may be passed by mistake, in the order in which it is looked up.
OF_TYPE: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((str, PathLike), f"is a text or a path; {WANTED}, pathlib.Path(path).read_bytes()"),
    (Image.Image, f"is a PIL image; {WANTED}, or encode it: {ENCODE}"),
    (np.ndarray, f"is an array; {WANTED}, or encode it: image = PIL.Image.fromarray(array); {ENCODE}"),
)


def require_bytes(images: Iterable[object]) -> list[bytes]:
    """The images as `bytes`.

    Args:
        images: Each bytes, bytearray or memoryview of an image file.

    Raises:
        MlflowException: Answered as 400. Names the first five rows that hold something else, what it is and
            what to pass instead.
    """
    given, taken, refused = list(images), [], []
    for number, image in enumerate(given):
        if isinstance(image, bytes | bytearray | memoryview):
            taken.append(bytes(image))
        else:
            refused.append(f"row {number}: image {_instead(image)}")
    if refused:
        raise MlflowException(
            f"{len(refused)} of {len(given)} rows refused: {first_offenders(refused)}",
            error_code=INVALID_PARAMETER_VALUE,
        )
    return taken


def _instead(image: object) -> str:
    """What an image is instead of bytes, and what to pass."""
    if image is None or image is pd.NA or (isinstance(image, float) and math.isnan(image)):
        return f"is missing; {WANTED}"
    if isinstance(image, str) and BASE64.fullmatch(image):
        return OF_BASE64
    for kind, words in OF_TYPE:
        if isinstance(image, kind):
            return words
    return f"is of type {type(image).__name__}; {WANTED}"
