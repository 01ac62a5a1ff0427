"""What is positive: the target of each record, from its diagnosis and the declared positive classes.

A diagnosis decides wherever its class is known. Of some images a source only says benign or malignant (column
`malignancy`): "benign" is negative if every positive class is malignant; "malignant" does not say whether it
is a melanoma, so a declared rule decides. Every other record gets no target.
"""

from collections.abc import Collection

import pandas as pd

from melanoma.schema import (
    ACTINIC_OR_SQUAMOUS,
    BENIGN_LESION,
    INDETERMINATE,
    MALIGNANT_CLASSES,
    MALIGNANT_LESION,
    NEGATIVE,
    POSITIVE,
    UNCLEAR,
    known_classes,
)

EXCLUDE, AS_POSITIVE = "exclude", "positive"


def targets(
    records: pd.DataFrame, *, positive: Collection[str], malignant_without_diagnosis: str
) -> pd.Series:
    """Shape `(n,)`, Int64: `POSITIVE`, `NEGATIVE` or missing.

    Missing are: rows without a known diagnosis that the rule does not map; rows that the source calls
    unclear; rows that it calls indeterminate, except actinic keratosis, which is between the two.

    Args:
        records: Columns `diagnosis` and `malignancy`.
        positive: Classes of `schema.CLASSES` that count as positive.
        malignant_without_diagnosis: Rule for rows that are malignant without a known diagnosis: "exclude" (no
            target) or "positive".
    """
    classes, malignancy = known_classes(records["diagnosis"]), records["malignancy"].astype("string")
    target = classes.isin(list(positive)).map({True: POSITIVE, False: NEGATIVE}).astype("Int64")
    target = target.mask(classes.isna())
    if set(positive) <= set(MALIGNANT_CLASSES):
        target = target.mask(_without_diagnosis(records, BENIGN_LESION), NEGATIVE)
    if malignant_without_diagnosis == AS_POSITIVE:
        target = target.mask(_without_diagnosis(records, MALIGNANT_LESION), POSITIVE)
    is_clear = (malignancy != UNCLEAR).fillna(True)
    is_clear &= (malignancy != INDETERMINATE).fillna(True) | (classes == ACTINIC_OR_SQUAMOUS).fillna(False)
    return target.where(is_clear.astype(bool))


def _without_diagnosis(records: pd.DataFrame, malignancy: str) -> pd.Series:
    is_said = (records["malignancy"].astype("string") == malignancy).fillna(False)
    return (is_said & known_classes(records["diagnosis"]).isna()).astype(bool)


def count_without_diagnosis(records: pd.DataFrame) -> dict[str, int]:
    """`num_benign_without_diagnosis` and `num_malignant_without_diagnosis`: rows for the declared rule."""
    return {
        f"num_{said}_without_diagnosis": int(_without_diagnosis(records, said).sum())
        for said in (BENIGN_LESION, MALIGNANT_LESION)
    }


def describe(records: pd.DataFrame) -> str:
    """How many records have each target, and how many of them the rule for missing diagnoses mapped."""
    target, counts = records["target"], count_without_diagnosis(records)
    parts = [
        f"{int((target == POSITIVE).sum())} positive",
        f"{int((target == NEGATIVE).sum())} negative",
        f"{int(target.isna().sum())} without a clear label",
    ]
    for said in (BENIGN_LESION, MALIGNANT_LESION):
        if number := counts[f"num_{said}_without_diagnosis"]:
            is_mapped = target[_without_diagnosis(records, said)].notna().all()
            meant = ("negative" if said == BENIGN_LESION else "positive") if is_mapped else "excluded"
            parts.append(f"{number} only called {said}: {meant}")
    return ", ".join(parts)
