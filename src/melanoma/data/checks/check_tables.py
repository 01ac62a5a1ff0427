"""Builds the tables that are checked: one row per image (or per column of a table), one column per check.

Great Expectations checks columns. Relations between rows (copies, lesions, groups) are counted here, so that
a rule of one column can check them.
"""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from melanoma.data.checks.facts import FACT_DTYPES, require_facts
from melanoma.schema import (
    BASAL_CELL_CARCINOMA,
    BENIGN_KERATOSIS,
    BENIGN_LESION,
    DERMATOFIBROMA,
    DERMOSCOPIC,
    MALIGNANT_LESION,
    MELANOMA,
    NEVUS,
    POSITIVE,
    RECORD_DTYPES,
    SPLIT_COLUMNS,
    SPLITS,
    VASCULAR_LESION,
    known_classes,
)

# Classes that are certainly benign or malignant. Actinic keratosis is neither, and `other` may be both.
MALIGNANCY_OF_CLASS = {
    **dict.fromkeys((MELANOMA, BASAL_CELL_CARCINOMA), MALIGNANT_LESION),
    **dict.fromkeys((NEVUS, BENIGN_KERATOSIS, VASCULAR_LESION, DERMATOFIBROMA), BENIGN_LESION),
}


def build_column_table(records: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """One row per column of records and facts: `column`, `declared_type`, `found_type` (or missing)."""
    rows = [
        {
            "column": f"{table}.{name}",
            "declared_type": declared,
            "found_type": str(frame[name].dtype) if name in frame else None,
        }
        for table, frame, dtypes in (("records", records, RECORD_DTYPES), ("facts", facts, FACT_DTYPES))
        for name, declared in dtypes.items()
    ]
    return pd.DataFrame(rows)


def build_image_table(
    records: pd.DataFrame, facts: pd.DataFrame, *, excluded_ids: Collection[str] = ()
) -> pd.DataFrame:
    """One row per record: the record, its facts, and how it relates to other rows.

    Added columns: `smaller_side` (pixels), `label_fits_diagnosis`, `patients_of_lesion` (count) and
    `labels_of_copies` (number of different labels among files with the same bytes or pixels). Columns that
    are absent or cannot be converted are missing in all rows.

    Args:
        records: Columns `schema.RECORD_COLUMNS`.
        facts: Facts of the same images.
        excluded_ids: Images that a user excludes; they do not count as copies.

    Raises:
        DataError: An image has no facts, so that it could not be checked.
    """
    records, facts = _conform(records, RECORD_DTYPES), _conform(facts, FACT_DTYPES)
    require_facts(records, facts)
    # A check reports an id that occurs twice; the merge must not fail.
    facts = facts.drop(columns=["phashes", "thumbnail"]).drop_duplicates("image_id")
    table = records.merge(facts, on="image_id", how="left", validate="many_to_one")
    expected = known_classes(table["diagnosis"]).map(MALIGNANCY_OF_CLASS).astype("string")
    said = table["malignancy"].where(table["malignancy"].isin([BENIGN_LESION, MALIGNANT_LESION]))
    kept = table[~table["image_id"].isin(list(excluded_ids)).astype(bool)]
    labels = [_count_within(kept, key, "target") for key in ("sha256", "pixels_sha256")]
    return table.assign(
        smaller_side=table[["width", "height"]].min(axis=1),
        label_fits_diagnosis=(expected == said).fillna(True).astype(bool),
        patients_of_lesion=_count_within(table, "lesion_id", "patient_id"),
        labels_of_copies=labels[0].combine(labels[1], max).reindex(table.index, fill_value=0),
    )


def _conform(frame: pd.DataFrame, dtypes: Mapping[str, str]) -> pd.DataFrame:
    columns = {}
    for name, dtype in dtypes.items():
        try:
            columns[name] = frame[name].astype(dtype)  # type: ignore[call-overload]
        except (KeyError, TypeError, ValueError):
            columns[name] = pd.Series(None, index=frame.index, dtype=dtype)
    return pd.DataFrame(columns)


def _count_within(table: pd.DataFrame, key: str, value: str) -> pd.Series:
    """Number of different values of `value` among rows with the same `key`; 0 if `key` is missing."""
    counts = table.groupby(key)[value].nunique()
    return table[key].map(counts).fillna(0).astype("int64")


def build_copy_table(images: pd.DataFrame) -> pd.DataFrame:
    """Add `is_repeated_file`: an earlier row has the same label and the same bytes or pixels.

    Args:
        images: Rows that pass all other checks. A copy of a quarantined image must stay.
    """
    is_repeated = pd.Series(False, index=images.index)
    for key in ("sha256", "pixels_sha256"):
        is_repeated |= images.duplicated([key, "target"]) & images[key].notna()
    return images.assign(is_repeated_file=is_repeated)


def build_outcome_table(images: pd.DataFrame, quarantined: list[str]) -> pd.DataFrame:
    """The outcome of each image: `is_accepted`, `is_quarantined`, `accepted_malignant` as 1.0 or 0.0.

    `accepted_malignant` is missing for images that are not accepted. `is_quarantined` is missing for
    quarantined images of another type than dermoscopic: many of them say nothing about the other images of a
    source.
    """
    is_quarantined = images["image_id"].isin(quarantined)
    is_malignant = (images["target"] == POSITIVE).fillna(False).astype("float64")
    is_other_type = is_quarantined & (images["image_type"] != DERMOSCOPIC).fillna(False).astype(bool)
    return pd.DataFrame(
        {
            "image_id": images["image_id"],
            "is_accepted": (~is_quarantined).astype("float64"),
            "is_quarantined": is_quarantined.astype("float64").mask(is_other_type),
            "accepted_malignant": is_malignant.where(~is_quarantined),
        }
    )


def build_split_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per image of a cohort, with the columns that the checks of splits need.

    Added columns: `sides_of_group` and `sides_of_bytes` (number of splits; 0 if group or digest are unknown),
    and for each split `is_<split>` (1.0 or 0.0) and `malignant_in_<split>` (1.0 or 0.0, missing in other
    splits).

    Args:
        rows: Columns `schema.SPLIT_COLUMNS` and, where known, `sha256`.
    """
    table = rows.reindex(columns=[*SPLIT_COLUMNS, "sha256"]).reset_index(drop=True)
    is_malignant = (table["target"] == POSITIVE).fillna(False).astype("float64")
    added = {
        "sides_of_group": _count_within(table, "group_id", "split"),
        "sides_of_bytes": _count_within(table, "sha256", "split"),
    }
    for split in SPLITS:
        is_here = (table["split"] == split).fillna(False).astype(bool)
        added[f"is_{split}"] = is_here.astype("float64")
        added[f"malignant_in_{split}"] = is_malignant.where(is_here & table["target"].notna())
    return table.assign(**added)


def build_balance_table(found: dict[str, Any]) -> pd.DataFrame:
    """One row per split (`side`), with the absolute standardised difference of each measure that is defined.

    Args:
        found: Balance of the sides, from `balance.measure`.
    """
    columns = {
        entry["measure"]: [abs(entry["sides"][side]["difference"]) for side in SPLITS]
        for entry in found["measures"]
        if "undefined" not in entry
    }
    return pd.DataFrame({"side": list(SPLITS), **columns})
