"""Body of the stage `pack`: decodes, crops and resizes the images of a cohort into one array per size."""

from pathlib import Path

import pandas as pd

from melanoma.config import Params
from melanoma.data import crops, lesions, packing, tables


def run(cohort: str, params: Params, *, split: Path, accepted: Path, boxes: Path, out: Path) -> str:
    """Write the packed cohort, and return a summary line.

    Args:
        cohort: Name of the cohort.
        params: All parameters.
        split: Table that assigns each image to a split.
        accepted: Folder with a table of accepted records for each dataset.
        boxes: Table of the stage `segment`, read where `pack.crop` is not `none`.
        out: Folder to write.
    """
    assigned, sizes = tables.read_split(split), params.image_sizes()
    cutting = lesions.read_cutting(
        boxes,
        params.pack.crop,
        image_ids=assigned["image_id"],
        margin_fraction=params.pack.crop_margin_fraction,
        min_lesion_fraction=params.segment.min_lesion_fraction,
    )
    digest = packing.pack(
        assigned,
        tables.read_tables(accepted, params.members(cohort), [*tables.ACCEPTED_COLUMNS, "diagnosis"]),
        out,
        sizes=sizes,
        execution=params.execution,
        cutting=cutting,
        positive=params.target.positive,
    )
    pixels = " and ".join(str(size) for size in sizes)
    text = f"{len(assigned)} images of {pixels} px, digest {digest[:12]} -> {out}"
    return text + _describe_cropping(assigned["image_id"], cutting)


def _describe_cropping(image_ids: pd.Series, cutting: crops.Cutting | None) -> str:
    if cutting is None:
        return ""
    num_cropped = int(image_ids.isin(list(cutting.boxes)).sum())
    num_whole = len(image_ids) - num_cropped
    return (
        f"; {num_cropped} cropped by {cutting.crop.kind}, {num_whole} not cropped, because no lesion was "
        "found"
    )
