"""What each image file really is: measured from its bytes, one row an image.

A file that cannot be read or decoded becomes a row that says so (`decodes` false, `problem` the
reason, measures missing), never an exception.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa

from melanoma.config.data import Execution, Inspect
from melanoma.data.checks.inspection import ImageFile, inspect_file, use_one_thread
from melanoma.data.hashes import THUMBNAIL_SIDE
from melanoma.errors import DataError, first_offenders
from melanoma.execution.mapping import imap

__all__ = [
    "FACT_DTYPES",
    "NEEDED_COLUMNS",
    "ROWS_AT_HAND",
    "THUMBNAIL_SIDE",
    "arrow_schema",
    "inspect_groups",
    "inspect_images",
    "require_facts",
]

ROWS_AT_HAND = 512  # of facts, before they are handed on: about 2 MB
NEEDED_COLUMNS = ("image_id", "path", "mask_path")  # of records

FACT_DTYPES = {
    "image_id": "string",
    "decodes": "boolean",
    "is_truncated": "boolean",  # it ends before its format says; missing of formats that are not decoded
    "problem": "string",  # why it does not decode
    "format": "string",  # by content, not by file name
    "extension_fits": "boolean",  # the file name ends as files of this format do
    "exif_orientation": "Int64",  # 1 to 8; missing where the file says nothing
    "mode": "string",  # Pillow's name
    "bit_depth": "Int64",  # bits a channel
    "num_frames": "Int64",  # more than 1 in an animation
    "width": "Int64",  # pixels, of the upright picture
    "height": "Int64",
    "num_bytes": "Int64",
    "sha256": "string",  # of the file
    "pixels_sha256": "string",  # of the decoded RGB pixels and their shape
    # Measured on the picture resized to the working size, so that they compare across resolutions:
    "sharpness": "Float64",  # variance of the Laplacian of grey
    "brightness": "Float64",  # mean grey, 0..1
    "contrast": "Float64",  # standard deviation of grey, 0..1
    "saturation": "Float64",  # mean of HSV saturation, 0..1
    "clipped_fraction": "Float64",  # of pixels with a channel at its upper end
    "dark_border_fraction": "Float64",  # of pixels in dark areas that touch the edge
    "hair_fraction": "Float64",  # of pixels under thin dark lines: hairs and ruler marks
    "ink_fraction": "Float64",  # of pixels in colours that skin has not: pen marks, coloured plasters
    "phashes": "object",  # 8 perceptual hashes as 64-bit integers, one an orientation
    "thumbnail": "object",  # THUMBNAIL_SIDE x THUMBNAIL_SIDE grey bytes
    "mask_decodes": "boolean",  # missing, as all below, where the record names no mask
    "mask_problem": "string",  # why it does not decode
    "mask_fits": "boolean",  # the mask has the width and height of the picture
    "lesion_fraction": "Float64",  # of the mask's pixels that are lesion
}


# The same for files: of a group of rows, all values of a column may be missing.
_ARROW_TYPES = {
    "string": pa.large_string(),
    "boolean": pa.bool_(),
    "Int64": pa.int64(),
    "Float64": pa.float64(),
    "phashes": pa.list_(pa.int64()),
    "thumbnail": pa.binary(),
}


def inspect_images(
    records: pd.DataFrame, *, root: Path, settings: Inspect, execution: Execution, description: str
) -> pd.DataFrame:
    """Facts of every image of `records`, in their order, as one table; see `inspect_groups`."""
    groups = inspect_groups(
        [records],
        root=root,
        settings=settings,
        num_images=len(records),
        execution=execution,
        description=description,
    )
    return pd.concat([_table([]), *groups], ignore_index=True)


def inspect_groups(
    records: Iterable[pd.DataFrame],
    *,
    root: Path,
    settings: Inspect,
    num_images: int,
    execution: Execution,
    description: str,
) -> Iterator[pd.DataFrame]:
    """Yield the facts of every image, a few hundred rows at a time.

    Memory holds these rows and no more, however many images there are.

    Args:
        records: Tables one below the other, with the columns `image_id`, `path` and `mask_path`
            (missing: no mask). Paths are relative to `root`.
        root: The top of the repository.
        settings: Working size and thresholds.
        num_images: How many rows `records` have.
        execution: Where the work is done.
        description: Of the progress bar.

    Yields:
        Columns and types of `FACT_DTYPES`.
    """
    rows = imap(
        partial(inspect_file, settings=settings),
        (file for table in records for file in _files(table, root)),
        num_items=num_images,
        execution=execution,
        description=description,
        initializer=use_one_thread,
    )
    while group := list(islice(rows, ROWS_AT_HAND)):
        yield _table(group)


def arrow_schema() -> pa.Schema:
    """The types of `FACT_DTYPES` in a Parquet file, as pandas restores them."""
    empty = pa.Schema.from_pandas(_table([]), preserve_index=False)
    types = [_ARROW_TYPES.get(name) or _ARROW_TYPES[dtype] for name, dtype in FACT_DTYPES.items()]
    return pa.schema(list(zip(FACT_DTYPES, types, strict=True)), metadata=empty.metadata)


def _files(records: pd.DataFrame, root: Path) -> Iterator[ImageFile]:
    for image_id, path, mask_path in records[list(NEEDED_COLUMNS)].itertuples(index=False):
        yield ImageFile(image_id, root / path, None if pd.isna(mask_path) else root / mask_path)


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows).reindex(columns=list(FACT_DTYPES)).astype(FACT_DTYPES)


def require_facts(records: pd.DataFrame, facts: pd.DataFrame) -> None:
    """Every image of `records` must have been inspected; facts of further images do no harm.

    Raises:
        DataError: Some have no facts; names the first five.
    """
    unknown = records.loc[~records["image_id"].isin(facts["image_id"]), "image_id"]
    if len(unknown):
        raise DataError(
            f"{len(unknown)} images of the records were not inspected: {first_offenders(unknown)}. "
            "Run `dvc repro inspect`."
        )
