"""Stage `assign`: give each group of related images one of train, validation, test, for all cohorts.

Run by `dvc repro assign`. Reads params.yaml sections `assign` and `run`, and what it wrote before: an
image keeps its side, however many are added.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from melanoma import config, files, schema
from melanoma.data import cohorts, splits, tables
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sides of all images, and what relates them."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--duplicates", type=Path, required=True, help="pairs of copies")
    parser.add_argument("--relations", type=Path, required=True, help="pairs to write, with reasons")
    parser.add_argument("--out", type=Path, required=True, help="sides to go on from and to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    before = splits.read_assigned(args.out) if args.out.exists() else splits.no_assignment()
    kept = before[before["plan"] == splits.describe_plan(params.assign)]
    assigned, relations = cohorts.assign_sides(
        tables.read_tables(args.accepted, params.run.datasets, tables.ACCEPTED_COLUMNS),
        tables.read_pairs(args.duplicates),
        kept,
        settings=params.assign,
        datasets=params.run.datasets,
    )
    files.write_csv(relations, args.relations)
    files.write_csv(assigned, args.out)
    _cli.say("assign", f"{_headline(assigned)}; {_compare(before, kept, assigned)}")
    return 0


def _headline(assigned: pd.DataFrame) -> str:
    taken = assigned[assigned["withheld"].isna()]
    sizes = taken["split"].value_counts()
    return f"{len(assigned)} images in {assigned['group_id'].nunique()} groups: " + ", ".join(
        f"{split} {sizes.get(split, 0)}" for split in schema.SPLITS
    )


def _compare(before: pd.DataFrame, kept: pd.DataFrame, assigned: pd.DataFrame) -> str:
    num_withheld = int(assigned["withheld"].notna().sum())
    withheld = f", {num_withheld} withheld, because their groups lie elsewhere" if num_withheld else ""
    if len(kept):
        return f"{len(kept)} kept their side, {len(assigned) - len(kept)} are new{withheld}"
    if len(before):
        return f"all assigned anew, because the plan was {before['plan'].iloc[0]!r}"
    return "no image had a side before"


if __name__ == "__main__":
    sys.exit(_cli.run(main))
