"""Group-disjoint, stratified splits that stay the same when images are added.

All active datasets are assigned together and a cohort takes its part of that assignment, so a group is in
the same split in `isic`, `ph2` and `joint`. An image never moves to another split: it may have trained or
tested an earlier model.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, get_args

import pandas as pd

from melanoma.config.data import Assign, AssignRule
from melanoma.errors import DataError, first_offenders
from melanoma.files import read_csv
from melanoma.schema import ASSIGNED_COLUMNS, SPLITS, TEST, TRAIN, VALIDATION

# The split that a group keeps when a new relation connects images of several splits: the one that is hardest
# to replace. Its images in other splits are withheld, so that no model is trained on what it is tested with.
KEPT_FIRST = (TEST, VALIDATION, TRAIN)
TOLERANCE = 1e-6  # images, because fractions are floats
RELATIVE, ABSOLUTE = RULES = get_args(AssignRule)
MAY_BE_BLANK = ("withheld", "lesion_id", "patient_id")


def fractions_of(settings: Assign) -> dict[str, float]:
    """Fraction of images by split; they add to 1."""
    return {
        TRAIN: settings.train_fraction,
        VALIDATION: settings.validation_fraction,
        TEST: settings.test_fraction,
    }


@dataclass(frozen=True)
class Plan:
    """What the assignment depends on besides the images.

    Attributes:
        seed: The same seed and images give the same splits.
        fractions: Fraction of images by split; they add to 1.
        rule: Which split takes the next group, see `assign_splits`.
    """

    seed: int
    fractions: Mapping[str, float]
    rule: AssignRule = RELATIVE

    @classmethod
    def of(cls, settings: Assign) -> Self:
        """The plan of section `assign` of params.yaml."""
        return cls(settings.seed, fractions_of(settings), settings.rule)

    def __str__(self) -> str:
        """For instance "seed 7, 0.6/0.2/0.2, relative_shortage"; tables of the oldest rule do not name it."""
        named = "" if self.rule == ABSOLUTE else f", {self.rule}"
        return f"seed {self.seed}, " + "/".join(map(str, self.fractions.values())) + named


def assign_splits(images: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Assign every image to train, validation or test; an image that has a split keeps it.

    New images of a group that has a split join it. Within each stratum (dataset, has a positive image) the
    other groups are taken largest first, then in an order drawn from the seed and their names. By the rule
    `relative_shortage`, each goes to the split with the largest shortage as a fraction of its size, among
    those that lack as many images as the group has; if none does, to the split that lacks most images. Ties
    are drawn in proportion to the fractions. So each split has the same share of images in large groups. By
    `absolute_shortage`, the rule of earlier versions, each goes to the split that lacks most images: the
    largest groups all go to training, and the test set has other lesions.

    Args:
        images: Columns `image_id`, `dataset`, `group_id`, `target` (0 or 1), `is_accepted`, `split`
            (missing where not assigned yet). Images that are not accepted do not count in the fractions.
        plan: Seed, fractions and rule.

    Returns:
        `images` with every `split` filled and with `withheld`: the reason why the image must be left out
        because its group is in another split, missing otherwise. Ordered by dataset and image_id.
    """
    placed = _keep_splits(images)
    counted = placed[placed["is_accepted"] & placed["withheld"].isna()]
    groups = counted.groupby("group_id", sort=True).agg(
        dataset=("dataset", "min"),
        has_malignant=("target", "max"),
        num_images=("target", "size"),
        split=("split", "first"),
    )
    groups["order"] = [_draw(plan.seed, str(group_id)) for group_id in groups.index]
    split_of_group: dict[str, str] = {}
    for _, stratum in groups.groupby(["dataset", "has_malignant"], sort=True):
        split_of_group |= _fill(stratum, plan)
    filled = placed["group_id"].map(split_of_group).astype("string")
    placed["split"] = placed["split"].fillna(filled)
    return placed.sort_values(["dataset", "image_id"]).reset_index(drop=True)


def _keep_splits(images: pd.DataFrame) -> pd.DataFrame:
    """Give new images the split of their group, and fill `withheld` for images in another one."""
    rank = images["split"].map({split: place for place, split in enumerate(KEPT_FIRST)})
    best = rank.groupby(images["group_id"]).transform("min")
    kept = best.map(dict(enumerate(KEPT_FIRST))).astype("string")
    split = images["split"].astype("string").fillna(kept)
    is_elsewhere = (split != kept).fillna(False).astype(bool)
    inside = images[~is_elsewhere].groupby("group_id")["image_id"].min()
    through = images["group_id"].map(inside).astype("string")
    reason = "its group is in " + kept + " through " + through
    return images.assign(split=split, withheld=reason.where(is_elsewhere))


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _fill(stratum: pd.DataFrame, plan: Plan) -> dict[str, str]:
    """The split of each group that has none, by the plan's rule."""
    total = int(stratum["num_images"].sum())
    present = stratum.groupby("split")["num_images"].sum()
    lacking = {split: plan.fractions[split] * total - int(present.get(split, 0)) for split in SPLITS}
    chosen = {}
    ordered = stratum[stratum["split"].isna()].sort_values(["num_images", "order"], ascending=[False, True])
    for group_id, num_images in ordered["num_images"].items():
        if plan.rule == ABSOLUTE:
            split = max(SPLITS, key=lambda name: lacking[name])
        else:
            split = _shortest(lacking, int(num_images), plan, str(group_id))
        chosen[str(group_id)] = split
        lacking[split] -= num_images
    return chosen


def _shortest(lacking: Mapping[str, float], num_images: int, plan: Plan, name: str) -> str:
    """The split with the largest relative shortage that lacks a whole group, or the largest shortage."""
    shortage = {
        split: number / plan.fractions[split]
        for split, number in lacking.items()
        if number > num_images - TOLERANCE
    } or dict(lacking)
    most = max(shortage.values())
    tied = {split: plan.fractions[split] for split, number in shortage.items() if number > most - TOLERANCE}
    place = sum(tied.values()) * int(_draw(plan.seed, f"tie of {name}")[:12], 16) / 16**12
    for split, fraction in tied.items():
        place -= fraction
        if place < 0:
            return split
    return split


def require_disjoint_groups(assigned: pd.DataFrame) -> None:
    """Refuse an assignment that leaks: no group may be in two splits.

    Raises:
        DataError: Names the first five groups that are.
    """
    num_splits = assigned.groupby("group_id")["split"].nunique()
    crossing = num_splits[num_splits > 1].index
    if len(crossing):
        raise DataError(
            f"{len(crossing)} groups are in more than one split, which would leak test images into "
            f"training: {first_offenders(crossing)}. Run `dvc repro --force assign` to search for related "
            "images again."
        )


def keep_plan(before: pd.DataFrame, plan: Plan, *, datasets: list[str]) -> pd.DataFrame:
    """`before` if it was assigned by `plan`, otherwise no rows.

    Args:
        before: Earlier assignment, from `read_assigned`.
        plan: Plan of the current parameters.
        datasets: Names of the active datasets.

    Raises:
        DataError: Only the rule is another one, or the plan is another one and `before` holds inactive
            datasets: splits would be lost.
    """
    kept = before[before["plan"] == str(plan)]
    if before.empty or not kept.empty:
        return kept
    of_before = str(before["plan"].iloc[0])
    for rule in RULES:
        if of_before == str(replace(plan, rule=rule)):
            raise _rule_changed(before, plan, rule)
    if forgotten := sorted(set(before["dataset"]) - set(datasets)):
        raise DataError(
            f"params.yaml: assign has changed (before: {of_before!r}), so the splits of {forgotten}, which "
            "are not active now, would be lost. Undo the change, activate these datasets too, or move the "
            "table of assigned images away to draw all splits again."
        )
    return kept


def in_words(before: pd.DataFrame) -> str:
    """How many images of which datasets have splits, for instance "67 images (sample 67)"."""
    counts = ", ".join(f"{name} {num}" for name, num in before["dataset"].value_counts(sort=False).items())
    return f"{len(before)} images ({counts})"


def _rule_changed(before: pd.DataFrame, plan: Plan, rule: str) -> DataError:
    """What another rule would forget, and the two ways on."""
    return DataError(
        f"params.yaml: assign.rule is {plan.rule}, but the splits of {in_words(before)} were drawn by the "
        f"rule {rule}. Drawn again, all of them would be forgotten: models trained before may "
        "have learned from images that would then be in the test set. Nothing was written. To keep the "
        f"splits, set assign.rule: {rule}; new images are then added by it. To draw all splits again by "
        f"{plan.rule}, also change assign.seed."
    )


def no_assignment() -> pd.DataFrame:
    """An assignment without rows."""
    return pd.DataFrame(columns=list(ASSIGNED_COLUMNS), dtype="string").astype({"target": "Int64"})


def read_assigned(path: Path) -> pd.DataFrame:
    """Read the splits of all images that were ever accepted, as stage `assign` wrote them.

    Returns:
        Columns `schema.ASSIGNED_COLUMNS`: strings, `target` Int64; `MAY_BE_BLANK` are missing where blank.

    Raises:
        DataError: The table is unreadable, incomplete or contradicts itself. The message says how to restore
            it.
    """
    try:
        table = read_csv(path, dtype="string", keep_default_na=False)
        fault = _fault(table)
    except DataError as error:
        fault = str(error)
    if fault:
        raise DataError(
            f"{path} holds the split of every image, and it is damaged: {fault} Nothing was written. "
            f"Restore it with `dvc checkout {path}`; to draw all splits again, remove it and change "
            "assign.seed."
        )
    optional = {name: table[name].mask(table[name] == "") for name in MAY_BE_BLANK}
    return table.assign(target=table["target"].astype("Int64"), **optional)


def _fault(table: pd.DataFrame) -> str:
    """What is wrong with the text of an assignment; empty when nothing is."""
    if tuple(table.columns) != ASSIGNED_COLUMNS:
        return f"its columns are {list(table.columns)}, expected {list(ASSIGNED_COLUMNS)}."
    is_blank = table.drop(columns=list(MAY_BE_BLANK)) == ""
    rules = {
        "a cell is blank": is_blank.any(axis=1) | table.isna().any(axis=1),
        "an image_id occurs twice": table["image_id"].duplicated(keep=False),
        "a split is unknown": ~table["split"].isin(SPLITS),
        "a target is neither 0 nor 1": ~table["target"].isin(["0", "1"]),
        "the rows have different plans": table["plan"] != table["plan"].iloc[:1].squeeze(),
    }
    for what, is_bad in rules.items():
        if is_bad.any():
            return f"{what} (images {first_offenders(table.loc[is_bad, 'image_id'])})."
    return ""
