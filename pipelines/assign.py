"""Stage `assign`: give each group of related images one of train, validation, test, for all cohorts.

Run by `dvc repro assign`. Reads params.yaml sections `assign` and `run`, and what it wrote before: an
image keeps its side, however many are added.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from melanoma import config, files, schema
from melanoma.data import tables
from melanoma.data.groups import cohorts, splits
from melanoma.errors import DataError
from pipelines import _cli

LOCK = Path("dvc.lock")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sides of all images, and what relates them."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--duplicates", type=Path, required=True, help="pairs of copies")
    parser.add_argument("--relations", type=Path, required=True, help="pairs to write, with reasons")
    parser.add_argument("--out", type=Path, required=True, help="sides to go on from and to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    before = _read_before(args.out, params)
    kept = splits.take_plan(before, params.assign, datasets=params.run.datasets)
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


def _read_before(path: Path, params: config.Params) -> pd.DataFrame:
    """The sides that images have already; none where DVC has recorded none by this plan either."""
    if path.exists():
        return splits.read_assigned(path)
    lock = config.read_yaml(LOCK) if LOCK.exists() else {}
    recorded = lock.get("stages", {}).get("assign", {}).get("params", {}).get("params.yaml", {})
    if recorded.get("assign") == params.assign.model_dump():
        raise DataError(
            f"{path} is not here, but {LOCK} says that images have their sides already. Bring them back "
            f"with `dvc pull {path}` (or `make data-pull`); to draw all anew, change assign.seed."
        )
    return splits.no_assignment()


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
