"""ISIC Archive: a metadata CSV as the archive exports it, a folder of images and optionally one of masks.

Older records have the label in `benign_malignant` and the diagnosis in `diagnosis`. Newer ones have a path of
up to five names, from `diagnosis_1` (Benign, Malignant, Indeterminate) to the most specific `diagnosis_5`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from melanoma.data.sources import translation
from melanoma.data.sources.raw_folder import RAW_COLUMNS, RawDataset, index_files, join_files, read_metadata
from melanoma.data.sources.source_files import describe_unused, fit_masks, require_fitting_masks, unused_files
from melanoma.data.sources.source_tables import columns_like, read_table, similar_columns
from melanoma.data.sources.translation import Unreadable
from melanoma.errors import DataError, first_offenders
from melanoma.schema import CLASS_OF_DIAGNOSIS, DERMOSCOPIC

LABEL_COLUMNS = ("benign_malignant", "diagnosis_1")
DIAGNOSIS_PATH = ("diagnosis_5", "diagnosis_4", "diagnosis_3", "diagnosis_2", "diagnosis_1")
# Word of older records by the name in the path. Nevus sebaceus and the like are no melanocytic nevi and have
# other names.
DIAGNOSIS_OF_NAME = {
    **{word: word for word in CLASS_OF_DIAGNOSIS},
    **dict.fromkeys(
        (
            *("malignant melanocytic proliferations (melanoma)", "melanoma in situ", "melanoma invasive"),
            *("melanoma, nos", "melanoma metastasis"),
        ),
        "melanoma",
    ),
    **dict.fromkeys(("blue nevus", "congenital nevus"), "nevus"),
    "nevus, atypical, dysplastic, or clark": "atypical nevus",
    "solar or actinic keratosis": "actinic keratosis",
    "squamous cell carcinoma, nos": "squamous cell carcinoma",
    "benign soft tissue proliferations - vascular": "vascular lesion",
    "lentigo, nos": "lentigo nos",
}
# Column of the common vocabulary by the name in the metadata CSV.
RECORD_COLUMN_OF = {
    "lesion_id": "lesion_id",
    "patient_id": "patient_id",
    "age_approx": "age_years",
    "sex": "sex",
    "fitzpatrick_skin_type": "skin_type",
    "image_type": "image_type",
    "copyright_license": "licence",
    "attribution": "attribution",
}
# The first of these columns that has a value is used.
RECORD_COLUMN_FROM = {
    "anatom_site": ("anatom_site_general", "anatom_site_1"),
    "source_collection": ("attribution_collection", "collections"),
}
# The columns that are read, and the rule for each.
RULES = {
    "diagnosis": translation.DIAGNOSIS,
    **dict.fromkeys(DIAGNOSIS_PATH, translation.TEXT),
    **dict.fromkeys(LABEL_COLUMNS, translation.LABEL),
    "lesion_id": translation.TEXT,
    "patient_id": translation.TEXT,
    "age_approx": translation.AGE_YEARS,
    "sex": translation.SEX,
    "fitzpatrick_skin_type": translation.SKIN_TYPE,
    "image_type": translation.IMAGE_TYPE,
    "copyright_license": translation.LICENCE,
    "attribution": translation.TEXT,
    **dict.fromkeys(RECORD_COLUMN_FROM["anatom_site"], translation.SITE),
    **dict.fromkeys(RECORD_COLUMN_FROM["source_collection"], translation.TEXT),
}
KNOWN_COLUMNS = ("isic_id", *RULES)
# Names of these columns in other datasets. Such columns are only reported, because their words may differ.
SYNONYMS = {
    **dict.fromkeys(("image_id", "image", "image_name", "name", "id", "filename"), "isic_id"),
    **dict.fromkeys(("label", "target", "class", "malignant", "melanoma"), "benign_malignant"),
    **dict.fromkeys(("dx", "diagnosis_name"), "diagnosis"),
    **dict.fromkeys(("age", "age_years", "patient_age"), "age_approx"),
    **dict.fromkeys(("gender", "patient_sex"), "sex"),
    **dict.fromkeys(("localization", "location", "site", "anatom_site", "body_site"), "anatom_site_general"),
    **dict.fromkeys(("fitzpatrick", "skin_type", "phototype"), "fitzpatrick_skin_type"),
    **dict.fromkeys(("license", "licence"), "copyright_license"),
    **dict.fromkeys(("modality", "type", "imaging"), "image_type"),
    **dict.fromkeys(("collection", "dataset", "source"), "attribution_collection"),
    "patient": "patient_id",
    "lesion": "lesion_id",
}


def open_source(metadata: Path, images: Path, masks: Path | None, *, is_partial: bool) -> RawDataset:
    """Open what `data/raw/isic/` or `data/raw/clinic/` is to hold; its cells stay as they are in the source.

    Args:
        metadata: CSV with at least `isic_id` and `benign_malignant` or `diagnosis_1`.
        images: Folder of `<isic_id>.jpg` (or .jpeg, .png, .bmp, .webp).
        masks: Folder of `<isic_id>_segmentation.png` (see `fit_masks`); masks of other images are left out.
        is_partial: Leave out rows that have no image.

    Raises:
        DataError: A column is missing, a cell cannot be translated, or rows and files do not match.
    """
    source = read_table(metadata, KNOWN_COLUMNS)
    _require_columns(source.rows, metadata)
    replaced = columns_like(source.rows, RAW_COLUMNS)
    table = source.rows.drop(columns=replaced).rename(columns={"isic_id": "image_id"})
    files = index_files(images)
    mask_files = _masks_of(set(table["image_id"].dropna()), images, masks)
    others = list(unused_files(images, [*files.values(), *mask_files.values()]))
    dataset = join_files(
        table, images=files, masks=mask_files, source=metadata, is_partial=is_partial, others=others
    )
    translation.require_readable(unreadable(dataset.metadata), metadata)
    left_out = table.loc[~table["image_id"].isin(set(files)), "image_id"]
    unused = describe_unused(
        rows_without_an_image=left_out.fillna("blank id").tolist(),
        masks=list(unused_files(masks, dataset.masks.values())) if masks else [],
        other_files=others,
        columns_replaced_by_ours=replaced,
        columns_that_look_like_known_ones=list(similar_columns(source.rows, KNOWN_COLUMNS, SYNONYMS)),
    )
    remarks = [source.remark, *describe_image_types(dataset.metadata), unused]
    return replace(dataset, remarks="; ".join(filter(None, remarks)))


def _masks_of(image_ids: set[str], images: Path, folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    if folder.resolve() == images.resolve():
        raise DataError(f"{folder} is given for images and for masks; put the masks into a separate folder.")
    masks = fit_masks(folder, image_ids)
    require_fitting_masks(folder, masks.values())
    return masks


def _require_columns(table: pd.DataFrame, source: Path) -> None:
    """Raise a `DataError` if a required column is missing; it names columns that look like it."""
    if "isic_id" not in table:
        lacking = "the columns ['isic_id']"
    elif not set(LABEL_COLUMNS) & set(table.columns):
        lacking = f"a column with the label: expected one of {list(LABEL_COLUMNS)}"
    else:
        return
    similar = first_offenders(similar_columns(table, KNOWN_COLUMNS, SYNONYMS))
    raise DataError(
        f"{source} lacks {lacking}; it has {sorted(table.columns)}."
        + (f" Rename the column that is meant: {similar}." if similar else "")
    )


def unreadable(table: pd.DataFrame) -> list[Unreadable]:
    """The cells that cannot be translated, of a table with `image_id` and the archive's columns."""
    return translation.translate(table, RULES)[1]


def describe_image_types(table: pd.DataFrame) -> Iterator[str]:
    """Say how many images are not dermoscopic, and how many do not state their type."""
    stated = table.reindex(columns=["image_id", "image_type"])
    types = translation.translate(stated, {"image_type": translation.IMAGE_TYPE})[0]["image_type"]
    if num_others := int((types.notna() & (types != DERMOSCOPIC)).sum()):
        yield f"{num_others} not dermoscopic, which `validate` will quarantine"
    if num_unknown := int(types.isna().sum()):
        yield f"image type not stated for {num_unknown}"


def read_records(raw_dir: Path) -> pd.DataFrame:
    """Rows of the `metadata.csv` of a raw folder in the common vocabulary; see `readers.read_records`.

    Raises:
        DataError: A cell cannot be translated.
    """
    source = raw_dir / "metadata.csv"
    table, bad = translation.translate(read_metadata(raw_dir, KNOWN_COLUMNS), RULES)
    translation.require_readable(bad, source)
    known = {old: new for old, new in RECORD_COLUMN_OF.items() if old in table}
    return (
        table[[*RAW_COLUMNS, *known]]
        .rename(columns=known)
        .assign(
            **{name: _first_known(table, columns) for name, columns in RECORD_COLUMN_FROM.items()},
            diagnosis=_diagnosis(table),
            malignancy=_malignancy(table),
            is_synthetic=False,
        )
    )


def _first_known(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.Series:
    """The first value of each row that is not missing; absent columns are ignored."""
    return table.reindex(columns=list(columns)).astype("string").bfill(axis=1).iloc[:, 0]


def _malignancy(table: pd.DataFrame) -> pd.Series:
    """What the label columns say; unclear where both are blank or contradict each other."""
    labels = table.reindex(columns=list(LABEL_COLUMNS)).astype("string")
    old, new = (labels[name] for name in LABEL_COLUMNS)
    differs = translation.malignancy(old) != translation.malignancy(new)
    return translation.malignancy(old.fillna(new).mask(differs & old.notna() & new.notna()))


def _diagnosis(table: pd.DataFrame) -> pd.Series:
    """`diagnosis`, else the word for a name in the path, else the most specific name in lower case."""
    path = table.reindex(columns=list(DIAGNOSIS_PATH)).astype("string").apply(lambda name: name.str.lower())
    words = path.apply(lambda name: name.map(DIAGNOSIS_OF_NAME)).assign(diagnosis=table.get("diagnosis"))
    word = _first_known(words, ("diagnosis", *DIAGNOSIS_PATH))
    return word.fillna(_first_known(path, DIAGNOSIS_PATH))
