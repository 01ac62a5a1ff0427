"""Check the images that Python code passes to `predict`; the message says what to pass instead."""

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
# Types that may be passed by mistake, in order of the lookup.
OF_TYPE: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((str, PathLike), f"is a string or a path; {WANTED}, pathlib.Path(path).read_bytes()"),
    (Image.Image, f"is a PIL image; {WANTED}, or encode it: {ENCODE}"),
    (np.ndarray, f"is an array; {WANTED}, or encode it: image = PIL.Image.fromarray(array); {ENCODE}"),
)


def require_bytes(images: Iterable[object]) -> list[bytes]:
    """The images as `bytes`.

    Args:
        images: Contents of image files, each bytes, bytearray or memoryview.

    Raises:
        MlflowException: Status 400; names the first five rows with another type, and what to pass instead.
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
    """Describe a value that is not bytes, and what to pass instead."""
    if image is None or image is pd.NA or (isinstance(image, float) and math.isnan(image)):
        return f"is missing; {WANTED}"
    if isinstance(image, str) and BASE64.fullmatch(image):
        return OF_BASE64
    for kind, words in OF_TYPE:
        if isinstance(image, kind):
            return words
    return f"is of type {type(image).__name__}; {WANTED}"
