"""Group-disjoint, stratified splits.

All active datasets are assigned together and a cohort takes its part of that one assignment, so a
group lies on the same side in `isic`, `ph2` and `joint`.
"""

import hashlib

import pandas as pd

from melanoma.errors import DataError
from melanoma.schema import BENIGN, MALIGNANT, SPLIT_COLUMNS, SPLITS


def assign_splits(grouped: pd.DataFrame, *, seed: int, fractions: dict[str, float]) -> pd.DataFrame:
    """Give every image one of train, validation, test; a group never crosses.

    Within each stratum (dataset, has a malignant image) groups are taken largest first, then in an
    order drawn from `seed` and their names; each goes to the split that lacks most images.

    Args:
        grouped: Columns `image_id`, `dataset`, `group_id`, `target` (0 or 1).
        seed: The same seed and images give the same splits.
        fractions: Of images, by split; they add to 1.

    Returns:
        Columns `SPLIT_COLUMNS`, ordered by dataset and image_id.
    """
    groups = grouped.groupby("group_id", sort=True).agg(
        dataset=("dataset", "min"), has_malignant=("target", "max"), num_images=("target", "size")
    )
    groups["order"] = [_draw(seed, str(group_id)) for group_id in groups.index]
    split_of_group: dict[str, str] = {}
    for _, stratum in groups.groupby(["dataset", "has_malignant"], sort=True):
        split_of_group |= _fill(stratum, fractions)
    assigned = grouped.assign(split=grouped["group_id"].map(split_of_group))
    ordered = assigned.sort_values(["dataset", "image_id"])
    return ordered[list(SPLIT_COLUMNS)].reset_index(drop=True)


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _fill(stratum: pd.DataFrame, fractions: dict[str, float]) -> dict[str, str]:
    """Split of each group: always the one whose count lies furthest below its share."""
    total = int(stratum["num_images"].sum())
    lacking = {split: fractions[split] * total for split in SPLITS}
    chosen = {}
    ordered = stratum.sort_values(["num_images", "order"], ascending=[False, True])
    for group_id, num_images in ordered["num_images"].items():
        split = max(SPLITS, key=lambda name: lacking[name])
        chosen[str(group_id)] = split
        lacking[split] -= num_images
    return chosen


def take_cohort(assigned: pd.DataFrame, *, cohort: str, datasets: list[str]) -> pd.DataFrame:
    """The rows of `datasets`.

    Raises:
        DataError: No images, one class only, or a split without malignant or benign images.
    """
    rows = assigned[assigned["dataset"].isin(datasets)].reset_index(drop=True)
    if rows.empty:
        raise DataError(
            f"Cohort {cohort!r} is empty: none of {datasets} has accepted images. "
            "See reports/validation/ for what was quarantined."
        )
    classes = rows["target"].unique()
    if len(classes) < 2:
        raise DataError(
            f"Cohort {cohort!r} has one class only (target {int(classes[0])} in all {len(rows)} "
            "images); a classifier needs benign and malignant images. Add images of the other class."
        )
    _require_both_classes_in_each_split(rows, cohort)
    return rows


def _require_both_classes_in_each_split(rows: pd.DataFrame, cohort: str) -> None:
    counts = rows.groupby(["split", "target"]).size()
    lacking = [
        f"{split} has no {name} image"
        for split in SPLITS
        for target, name in ((BENIGN, "benign"), (MALIGNANT, "malignant"))
        if counts.get((split, target), 0) == 0
    ]
    if lacking:
        groups = rows.groupby("target")["group_id"].nunique()
        raise DataError(
            f"Cohort {cohort!r} has too few groups for three splits ({groups.get(BENIGN, 0)} with "
            f"benign, {groups.get(MALIGNANT, 0)} with malignant images): {'; '.join(lacking)}. "
            "Add images, or change the fractions in params.yaml: split."
        )


def require_disjoint_groups(assigned: pd.DataFrame) -> None:
    """The leakage firewall: no group may lie in two splits.

    Raises:
        DataError: Names the first five groups that do.
    """
    sides = assigned.groupby("group_id")["split"].nunique()
    crossing = sides[sides > 1].index
    if len(crossing):
        raise DataError(
            f"{len(crossing)} groups cross splits, which would leak test images into training: "
            f"{', '.join(map(str, crossing[:5]))}. Run `dvc repro split` to assign them again."
        )


def summarize(assigned: pd.DataFrame, relations: pd.DataFrame) -> dict[str, object]:
    """Counts of images, groups and classes by split, and each group of several with its reasons."""
    by_split = {}
    for split in SPLITS:
        rows = assigned[assigned["split"] == split]
        by_split[split] = {
            "num_images": len(rows),
            "num_groups": int(rows["group_id"].nunique()),
            "num_malignant": int((rows["target"] == MALIGNANT).sum()),
            "num_benign": int((rows["target"] == BENIGN).sum()),
        }
    return {"splits": by_split, "groups_of_several": _groups_of_several(assigned, relations)}


def _groups_of_several(assigned: pd.DataFrame, relations: pd.DataFrame) -> list[dict[str, object]]:
    group_of = assigned.set_index("image_id")["group_id"]
    reasons = relations.assign(group_id=relations["image_id"].map(group_of)).groupby("group_id")
    reasons_of = reasons["reason"].unique().to_dict()
    return [
        {
            "group_id": str(group_id),
            "split": str(rows["split"].iloc[0]),
            "image_ids": rows["image_id"].tolist(),
            "reasons": sorted(reasons_of.get(group_id, [])),
        }
        for group_id, rows in assigned.groupby("group_id", sort=True)
        if len(rows) > 1
    ]
