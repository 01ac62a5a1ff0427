"""Assigns every accepted image to a split, keeping the splits that images have already."""

from pathlib import Path

import pandas as pd

from melanoma import config, files, schema
from melanoma.config.data import Assign
from melanoma.data import tables
from melanoma.data.groups import cohorts, splits
from melanoma.errors import DataError

LOCK = Path("dvc.lock")


def assign(accepted: Path, duplicates: Path, *, relations: Path, out: Path, params: config.Params) -> str:
    """Write the splits of all images, and the pairs of images that must stay together.

    Args:
        accepted: Folder with a table of accepted records a dataset.
        duplicates: CSV of pairs of copies.
        relations: CSV of related pairs to write.
        out: CSV of assigned images; read first where it exists, then written.
        params: Sections `assign` and `run`.

    Returns:
        A sentence about the result.

    Raises:
        DataError: An input is missing or contradicts itself, or the earlier splits would be lost.
    """
    datasets, plan = params.run.datasets, splits.Plan.of(params.assign)
    before = _read_before(out, params.assign)
    kept = splits.keep_plan(before, plan, datasets=datasets)
    assigned, related = cohorts.assign_images(
        tables.read_tables(accepted, datasets, tables.ACCEPTED_COLUMNS),
        tables.read_pairs(duplicates),
        kept,
        plan=plan,
        datasets=datasets,
    )
    files.write_csv(related, relations)
    files.write_csv(assigned, out)
    return f"{_sizes(assigned)}; {_changes(before, kept, assigned)}"


def _read_before(path: Path, settings: Assign) -> pd.DataFrame:
    """The earlier assignment; no rows where there is none, and DVC has recorded none by this plan either."""
    if path.exists():
        return splits.read_assigned(path)
    lock = config.read_yaml(LOCK) if LOCK.exists() else {}
    recorded = lock.get("stages", {}).get("assign", {}).get("params", {}).get("params.yaml", {})
    # An earlier version recorded no rule. Another rule alone must not draw splits again, see `keep_plan`.
    if recorded.get("assign", {}) | {"rule": settings.rule} == settings.model_dump():
        raise DataError(
            f"{path} is missing, but according to {LOCK} images are assigned already. Restore it with `dvc "
            f"pull {path}` (or `make data-pull`); to draw all splits again, change assign.seed."
        )
    return splits.no_assignment()


def _sizes(assigned: pd.DataFrame) -> str:
    sizes = assigned.loc[assigned["withheld"].isna(), "split"].value_counts()
    counts = ", ".join(f"{split} {sizes.get(split, 0)}" for split in schema.SPLITS)
    return f"{len(assigned)} images in {assigned['group_id'].nunique()} groups: {counts}"


def _changes(before: pd.DataFrame, kept: pd.DataFrame, assigned: pd.DataFrame) -> str:
    num_withheld = int(assigned["withheld"].notna().sum())
    withheld = f", {num_withheld} withheld because their group is in another split" if num_withheld else ""
    if len(kept):
        return f"{len(kept)} kept their split, {len(assigned) - len(kept)} are new{withheld}"
    if len(before):
        return (
            "all assigned again, because params.yaml: assign has changed (before: "
            f"{before['plan'].iloc[0]!r}): the splits of {splits.in_words(before)} are forgotten, so models "
            "trained before may have learned from images that are now in the test set"
        )
    return "no image had a split before"
