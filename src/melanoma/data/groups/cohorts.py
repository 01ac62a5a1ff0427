"""The splits of all images together, and the part of them that belongs to a cohort."""

from typing import Any

import pandas as pd

from melanoma.data.groups import splits
from melanoma.data.groups.relations import group_ids, relate, require_equal_labels
from melanoma.errors import DataError, first_offenders
from melanoma.schema import ASSIGNED_COLUMNS, NEGATIVE, POSITIVE, SPLIT_COLUMNS, SPLITS


def assign_images(
    accepted: pd.DataFrame,
    copies: pd.DataFrame,
    earlier: pd.DataFrame,
    *,
    plan: splits.Plan,
    datasets: list[str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Assign every image that is accepted, or ever was, to a split.

    Args:
        accepted: Accepted images of all active datasets, columns `tables.ACCEPTED_COLUMNS` and `dataset`.
        copies: Pairs of copies, columns `schema.PAIR_COLUMNS`.
        earlier: Result of an earlier call with this plan, or `splits.no_assignment()`.
        plan: Seed, fractions and rule of the assignment.
        datasets: Names of the active datasets.

    Returns:
        Columns `schema.ASSIGNED_COLUMNS`, and all relations (`schema.PAIR_COLUMNS`).

    Raises:
        DataError: Copies have different labels.
    """
    require_equal_labels(accepted, copies)
    images = pd.concat(
        [
            accepted.merge(
                earlier[["image_id", "split"]], on="image_id", how="left", validate="one_to_one"
            ).assign(is_accepted=True),
            earlier[~earlier["image_id"].isin(accepted["image_id"])].assign(is_accepted=False),
        ],
        ignore_index=True,
    )
    relations = relate(images, copies, _groups_partly_unseen(earlier, datasets))
    group_of = group_ids(images["image_id"].tolist(), relations)
    images["group_id"] = images["image_id"].map(group_of)
    assigned = splits.assign_splits(images, plan)
    splits.require_disjoint_groups(assigned[assigned["withheld"].isna()])
    assigned["plan"] = str(plan)
    return assigned[list(ASSIGNED_COLUMNS)], relations


def _groups_partly_unseen(earlier: pd.DataFrame, datasets: list[str]) -> pd.DataFrame:
    """Earlier groups with images of inactive datasets, whose relations are not known now."""
    is_unseen = ~earlier["dataset"].isin(datasets)
    return earlier[earlier["group_id"].isin(earlier.loc[is_unseen, "group_id"])]


def split_cohort(
    cohort: str,
    *,
    accepted: pd.DataFrame,
    assigned: pd.DataFrame,
    relations: pd.DataFrame,
    datasets: list[str],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The part of the assignment that belongs to a cohort.

    Args:
        cohort: Cohort name, for messages.
        accepted: Accepted images of its datasets, columns `tables.ACCEPTED_COLUMNS` and `dataset`.
        assigned: All images that were ever accepted, from `splits.read_assigned`.
        relations: Relations of all images, columns `schema.PAIR_COLUMNS`.
        datasets: Names of its datasets.

    Returns:
        Columns `schema.SPLIT_COLUMNS` and `sha256`, and the report.

    Raises:
        DataError: An accepted image has no split, or the cohort is empty, has one class or too few groups.
    """
    unknown = accepted.loc[~accepted["image_id"].isin(assigned["image_id"]), "image_id"]
    if len(unknown):
        raise DataError(
            f"{len(unknown)} accepted images have no split yet: {first_offenders(unknown)}. "
            "Run `dvc repro assign`."
        )
    rows = assigned[assigned["image_id"].isin(accepted["image_id"])].sort_values(["dataset", "image_id"])
    is_withheld = rows["withheld"].notna()
    taken = rows.loc[~is_withheld, [*SPLIT_COLUMNS, "sha256"]].reset_index(drop=True)
    _require_two_classes(taken, cohort, datasets=datasets)
    _require_both_classes_in_each_split(taken, cohort)
    report = {"cohort": cohort, "is_synthetic": bool(accepted["is_synthetic"].fillna(True).any())}
    return taken, report | summarize(taken, rows[is_withheld], relations)


def _require_two_classes(rows: pd.DataFrame, cohort: str, *, datasets: list[str]) -> None:
    if rows.empty:
        raise DataError(
            f"Cohort {cohort!r} is empty: none of {datasets} has accepted images. "
            "See reports/validation/ for what was quarantined."
        )
    classes = rows["target"].unique()
    if len(classes) < 2:
        raise DataError(
            f"Cohort {cohort!r} has one class only (target {int(classes[0])} in all {len(rows)} "
            "images); a classifier needs negative and positive images. Add images of the other class."
        )


def _require_both_classes_in_each_split(rows: pd.DataFrame, cohort: str) -> None:
    counts = rows.groupby(["split", "target"]).size()
    lacking = [
        f"{split} has no {name} image"
        for split in SPLITS
        for target, name in ((NEGATIVE, "negative"), (POSITIVE, "positive"))
        if counts.get((split, target), 0) == 0
    ]
    if lacking:
        num_groups = rows.groupby("target")["group_id"].nunique()
        raise DataError(
            f"Cohort {cohort!r} has too few groups for three splits ({num_groups.get(NEGATIVE, 0)} with "
            f"negative, {num_groups.get(POSITIVE, 0)} with positive images): {'; '.join(lacking)}. "
            "Add images, or change the fractions in params.yaml: assign."
        )


def summarize(taken: pd.DataFrame, withheld: pd.DataFrame, relations: pd.DataFrame) -> dict[str, Any]:
    """Counts by split and by dataset, groups of several images with their reasons, and withheld images."""
    return {
        "splits": {split: _counts(taken[taken["split"] == split]) for split in SPLITS},
        "datasets": {str(dataset): _counts(rows) for dataset, rows in taken.groupby("dataset", sort=True)},
        "groups_of_several": _groups_of_several(taken, relations),
        "withheld": [
            {"image_id": str(row.image_id), "split": str(row.split), "reason": str(row.withheld)}
            for row in withheld.itertuples()
        ],
    }


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    return {
        "num_images": len(rows),
        "num_groups": int(rows["group_id"].nunique()),
        "num_malignant_groups": int(rows.loc[rows["target"] == POSITIVE, "group_id"].nunique()),
        "num_benign_groups": int(rows.loc[rows["target"] == NEGATIVE, "group_id"].nunique()),
        "num_malignant": int((rows["target"] == POSITIVE).sum()),
        "num_benign": int((rows["target"] == NEGATIVE).sum()),
    }


def _groups_of_several(taken: pd.DataFrame, relations: pd.DataFrame) -> list[dict[str, Any]]:
    group_of = taken.set_index("image_id")["group_id"]
    reasons = pd.concat(
        [
            pd.DataFrame({"group_id": relations[column].map(group_of), "reason": relations["reason"]})
            for column in ("image_id", "other_image_id")
        ]
    )
    reasons_of = reasons.groupby("group_id")["reason"].unique().to_dict()
    return [
        {
            "group_id": str(group_id),
            "split": str(rows["split"].iloc[0]),
            "image_ids": rows["image_id"].tolist(),
            "reasons": sorted(reasons_of.get(group_id, [])),
        }
        for group_id, rows in taken.groupby("group_id", sort=True)
        if len(rows) > 1
    ]
