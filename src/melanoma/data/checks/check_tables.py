"""The tables that checks judge: one row an image (or a column), everything a check needs in one column.

Great Expectations judges columns; what holds between rows (copies, lesions, groups) is counted here
first, so that a rule of one column can judge it.
"""

from collections.abc import Collection, Mapping

import pandas as pd

from melanoma.data.checks.facts import FACT_DTYPES, require_facts
from melanoma.schema import BENIGN, DERMOSCOPIC, MALIGNANT, RECORD_DTYPES, SPLIT_COLUMNS, SPLITS

# Diagnoses, in lower case and in the words of the ISIC Archive, whose target is beyond doubt; others are
# not compared with it: actinic keratosis and atypical melanocytic proliferations stand between the two.
TARGET_OF_DIAGNOSIS = dict.fromkeys(
    (
        "melanoma",
        "melanoma in situ",
        "melanoma invasive",
        "melanoma metastasis",
        "basal cell carcinoma",
        "squamous cell carcinoma",
        "squamous cell carcinoma, invasive",
        "squamous cell carcinoma in situ",
    ),
    MALIGNANT,
) | dict.fromkeys(
    (
        "nevus",
        "atypical nevus",
        "blue nevus",
        "nevus spilus",
        "seborrheic keratosis",
        "pigmented benign keratosis",
        "lichenoid keratosis",
        "lichen planus like keratosis",
        "lentigo simplex",
        "lentigo nos",
        "solar lentigo",
        "dermatofibroma",
        "vascular lesion",
        "angioma",
        "hemangioma",
        "angiokeratoma",
        "pyogenic granuloma",
        "cafe-au-lait macule",
        "neurofibroma",
        "sebaceous hyperplasia",
        "verruca",
        "acrochordon",
        "scar",
    ),
    BENIGN,
)


def build_column_table(records: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """One row a column that records and facts must have: `column`, `declared_type`, `found_type`.

    `found_type` is missing where the column is absent.
    """
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
    """One row a record: the record, its facts, and how it fits other rows.

    Added: `smaller_side` (pixels), `label_fits_diagnosis`, `patients_of_lesion` (count) and
    `labels_of_copies` (count of different labels among files with the same bytes or pixels). Columns
    that are absent or of a type that cannot be converted are missing throughout.

    Args:
        records: Columns `schema.RECORD_COLUMNS`.
        facts: Of the same images.
        excluded_ids: Images that a user takes out; their labels count in no copy, and they have 0.

    Raises:
        DataError: An image has no facts; without them no check would see it.
    """
    records, facts = _conform(records, RECORD_DTYPES), _conform(facts, FACT_DTYPES)
    require_facts(records, facts)
    # An id that occurs twice is for a check to report, not for the merge.
    facts = facts.drop(columns=["phashes", "thumbnail"]).drop_duplicates("image_id")
    table = records.merge(facts, on="image_id", how="left", validate="many_to_one")
    expected = table["diagnosis"].str.strip().str.lower().map(TARGET_OF_DIAGNOSIS).astype("Int64")
    kept = table[~table["image_id"].isin(list(excluded_ids)).astype(bool)]
    labels = [_count_within(kept, key, "target") for key in ("sha256", "pixels_sha256")]
    return table.assign(
        smaller_side=table[["width", "height"]].min(axis=1),
        label_fits_diagnosis=(expected == table["target"]).fillna(True).astype(bool),
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
    """Number of different known values of `value` among the rows that share `key`; 0 without key."""
    counts = table.groupby(key)[value].nunique()
    return table[key].map(counts).fillna(0).astype("int64")


def build_copy_table(images: pd.DataFrame) -> pd.DataFrame:
    """`images` with `is_repeated_file`: an earlier row has the same label and the same bytes or pixels.

    To be given the rows that nothing else takes out: a copy must not leave for the sake of a first one
    that leaves too.
    """
    is_repeated = pd.Series(False, index=images.index)
    for key in ("sha256", "pixels_sha256"):
        is_repeated |= images.duplicated([key, "target"]) & images[key].notna()
    return images.assign(is_repeated_file=is_repeated)


def build_outcome_table(images: pd.DataFrame, quarantined: list[str]) -> pd.DataFrame:
    """What became of each image: `is_accepted`, `is_quarantined`, `accepted_malignant` as 1.0 or 0.0.

    `accepted_malignant` is missing where the image was not accepted, `is_quarantined` where an image of
    another type than dermoscopic was: however many of them a source holds, its other images may be good.
    """
    is_quarantined = images["image_id"].isin(quarantined)
    is_malignant = (images["target"] == MALIGNANT).fillna(False).astype("float64")
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
    """One row an image of a cohort, with what the checks of splits judge.

    Added: `sides_of_group` and `sides_of_bytes` (counts; 0 where group or digest are unknown), and for
    each split `is_<split>` (1.0 or 0.0) and `malignant_in_<split>` (1.0 or 0.0, missing elsewhere).

    Args:
        rows: `schema.SPLIT_COLUMNS` and, where known, `sha256`.
    """
    table = rows.reindex(columns=[*SPLIT_COLUMNS, "sha256"]).reset_index(drop=True)
    is_malignant = (table["target"] == MALIGNANT).fillna(False).astype("float64")
    added = {
        "sides_of_group": _count_within(table, "group_id", "split"),
        "sides_of_bytes": _count_within(table, "sha256", "split"),
    }
    for split in SPLITS:
        is_here = (table["split"] == split).fillna(False).astype(bool)
        added[f"is_{split}"] = is_here.astype("float64")
        added[f"malignant_in_{split}"] = is_malignant.where(is_here & table["target"].notna())
    return table.assign(**added)
