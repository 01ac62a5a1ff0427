"""Facts of each image file, measured from its bytes, one row per image.

A file that cannot be read or decoded gives a row with `decodes` false, the reason in `problem` and missing
measures, never an exception.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa

from melanoma.config.data import Execution, Inspect
from melanoma.data.checks.inspection import ImageFile, inspect_file, use_one_thread
from melanoma.errors import DataError, first_offenders
from melanoma.execution.mapping import imap

ROWS_AT_HAND = 512  # rows of facts in memory, about 2 MB
NEEDED_COLUMNS = ("image_id", "path", "mask_path")  # columns of records

FACT_DTYPES = {
    "image_id": "string",
    "decodes": "boolean",
    "is_truncated": "boolean",  # the file ends too early; missing for formats that are not decoded
    "problem": "string",  # why the image does not decode
    "format": "string",  # by content, not by file name
    "extension_fits": "boolean",  # the file name ends as files of this format do
    "exif_orientation": "Int64",  # 1 to 8; missing if not stated
    "mode": "string",  # Pillow's name
    "bit_depth": "Int64",  # bits per channel
    "num_frames": "Int64",  # more than 1 in an animation
    "width": "Int64",  # pixels of the upright picture
    "height": "Int64",
    "num_bytes": "Int64",
    "sha256": "string",  # digest of the file
    "pixels_sha256": "string",  # digest of the decoded RGB pixels and their shape
    # Measured on the picture resized to the working size, so that resolutions are comparable:
    "sharpness": "Float64",  # variance of the Laplacian of grey
    "brightness": "Float64",  # mean grey, 0..1
    "contrast": "Float64",  # standard deviation of grey, 0..1
    "saturation": "Float64",  # mean of HSV saturation, 0..1
    "clipped_fraction": "Float64",  # fraction of pixels with a saturated channel
    "dark_border_fraction": "Float64",  # fraction of pixels in dark areas that touch the edge
    "hair_fraction": "Float64",  # fraction of pixels on thin dark lines: hairs and ruler marks
    "ink_fraction": "Float64",  # fraction of pixels in colours that skin does not have: pen, plasters
    "ita_degrees": "Float64",  # skin around the lesion, see `skin_tone`; an estimate from pixels
    "ita_problem": "string",  # why it could not be estimated
    "phashes": "object",  # 8 perceptual hashes as 64-bit integers, one per orientation
    "thumbnail": "object",  # THUMBNAIL_SIDE x THUMBNAIL_SIDE grey bytes
    "mask_decodes": "boolean",  # missing like the facts below if there is no mask
    "mask_problem": "string",  # why the mask does not decode
    "mask_fits": "boolean",  # the mask has the width and height of the picture
    "lesion_fraction": "Float64",  # fraction of the mask that is lesion
}


# Types in files, stated because all values of a column may be missing in a row group.
_ARROW_TYPES = {
    "string": pa.large_string(),
    "boolean": pa.bool_(),
    "Int64": pa.int64(),
    "Float64": pa.float64(),
    "phashes": pa.list_(pa.int64()),
    "thumbnail": pa.binary(),
}


def inspect_groups(
    records: Iterable[pd.DataFrame],
    *,
    root: Path,
    settings: Inspect,
    num_images: int,
    execution: Execution,
    description: str,
) -> Iterator[pd.DataFrame]:
    """Yield the facts of every image, a few hundred rows at a time, to bound the memory.

    Args:
        records: Parts of one table with the columns `image_id`, `path` and `mask_path` (missing if there is
            no mask).
        root: Folder to which the paths are relative.
        settings: Working size and thresholds.
        num_images: Number of rows of all `records`.
        execution: Where the work runs.
        description: Label of the progress bar.

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
    """Raise a `DataError` that names the images of `records` without facts, if there are any."""
    unknown = records.loc[~records["image_id"].isin(facts["image_id"]), "image_id"]
    if len(unknown):
        raise DataError(
            f"{len(unknown)} images in the records were not inspected: {first_offenders(unknown)}. Run `dvc "
            "repro inspect`."
        )
