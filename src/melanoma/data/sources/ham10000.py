"""HAM10000: 10,015 dermoscopic images of Vienna and Queensland with a diagnosis each, several of a lesion.

The official download has `HAM10000_metadata` (.csv or .tab) and two folders of images.

Source: P. Tschandl, C. Rosendahl, H. Kittler, "The HAM10000 dataset, a large collection of multi-source
dermatoscopic images of common pigmented skin lesions", Sci. Data 5, 180161 (2018). CC BY-NC 4.0.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from melanoma.data.sources import translation
from melanoma.data.sources.raw_folder import RAW_COLUMNS, RawDataset, read_metadata
from melanoma.data.sources.source_files import describe_unused, join_images
from melanoma.data.sources.source_tables import columns_like, read_table
from melanoma.data.sources.translation import Rule
from melanoma.schema import (
    ACTINIC_OR_SQUAMOUS,
    BASAL_CELL_CARCINOMA,
    BENIGN_KERATOSIS,
    DERMATOFIBROMA,
    DERMOSCOPIC,
    MELANOMA,
    NEVUS,
    VASCULAR_LESION,
    require_columns,
)

DIAGNOSIS_OF_CODE = {
    "nv": NEVUS,
    "mel": MELANOMA,
    "bkl": BENIGN_KERATOSIS,
    "bcc": BASAL_CELL_CARCINOMA,
    "akiec": ACTINIC_OR_SQUAMOUS,
    "vasc": VASCULAR_LESION,
    "df": DERMATOFIBROMA,
}
TABLE_COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
# Newer tables also name the clinic and device.
OPTIONAL_COLUMN = "dataset"
RULES = {
    "lesion_id": translation.TEXT,
    "dx": Rule(f"one of {', '.join(DIAGNOSIS_OF_CODE)}", DIAGNOSIS_OF_CODE.get),
    "age": translation.AGE_YEARS,
    "sex": translation.SEX,
    "localization": translation.SITE,
    OPTIONAL_COLUMN: translation.TEXT,
}


def open_source(metadata: Path, images: Sequence[Path], *, is_partial: bool) -> RawDataset:
    """Open what `data/raw/ham10000/` is to hold; its cells stay as they are in the source.

    Args:
        metadata: Official table, separated by commas or tabs.
        images: Folders of `<image_id>.jpg`; images without a row are left out and counted.
        is_partial: Leave out rows that have no image.

    Raises:
        DataError: A column is missing, a cell cannot be translated, a row has no image, or two folders have
            different images of one name.
    """
    source = read_table(metadata, {*TABLE_COLUMNS, OPTIONAL_COLUMN})
    require_columns(source.rows, TABLE_COLUMNS, metadata)
    replaced = columns_like(source.rows, RAW_COLUMNS[1:])
    table = source.rows.drop(columns=replaced)
    dataset, unused = join_images(table, images, source=metadata, is_partial=is_partial)
    translation.require_readable(translation.translate(dataset.metadata, RULES)[1], metadata)
    told = describe_unused(**unused, columns_replaced_by_ours=replaced)
    return replace(dataset, remarks="; ".join(filter(None, [source.remark, told])))


def read_records(raw_dir: Path) -> pd.DataFrame:
    """Rows of `data/raw/ham10000/metadata.csv` in the common vocabulary; see `readers.read_records`.

    Raises:
        DataError: A cell cannot be translated.
    """
    source = raw_dir / "metadata.csv"
    table = read_metadata(raw_dir, (*TABLE_COLUMNS, OPTIONAL_COLUMN))
    require_columns(table, TABLE_COLUMNS, source)
    table, bad = translation.translate(table, RULES)
    translation.require_readable(bad, source)
    collection = table.reindex(columns=[OPTIONAL_COLUMN])[OPTIONAL_COLUMN].astype("string")
    return table[["image_id", "lesion_id", "sex", "image_file", "mask_file"]].assign(
        diagnosis=table["dx"],
        age_years=table["age"],
        anatom_site=table["localization"],
        source_collection=collection.fillna("HAM10000"),
        image_type=DERMOSCOPIC,
        is_synthetic=False,
    )
