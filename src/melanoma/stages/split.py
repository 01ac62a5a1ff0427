"""Takes a cohort's part of the assignment and checks it."""

import tempfile
from argparse import Namespace
from typing import Any

from melanoma import config, files, schema
from melanoma.data import tables
from melanoma.data.checks import validation
from melanoma.data.groups import balance, cohorts, splits
from melanoma.errors import DataError
from melanoma.evaluation import power
from melanoma.evaluation.intervals import effective_groups


def split(args: Namespace, params: config.Params) -> str:
    """Write the splits of a cohort, their report and its Data Docs.

    Args:
        args: Cohort name and paths, by the options of `pipelines/split.py`.
        params: Sections `split`, `assign`, `target` and `cohorts`.

    Returns:
        A sentence about the result.

    Raises:
        DataError: An image has no split, the cohort lacks a class, or a check fails.
    """
    members = params.members(args.cohort)
    accepted = tables.read_tables(args.accepted, members, [*tables.ACCEPTED_COLUMNS, *balance.RECORDED])
    rows, summary = cohorts.split_cohort(
        args.cohort,
        accepted=accepted,
        assigned=splits.read_assigned(args.assigned),
        relations=tables.read_pairs(args.relations),
        datasets=members,
    )
    tested = rows[rows["split"] == schema.TEST]
    groups_of = {label: ids.to_numpy() for label, ids in tested.groupby("target")["group_id"]}
    nums = (effective_groups(groups_of[label]) for label in (schema.POSITIVE, schema.NEGATIVE))
    summary["positive_means"] = schema.positive_means(params.target.positive)
    summary["expected"] = power.expect(*nums)
    summary["balance"] = balance.measure(rows, accepted)
    with tempfile.TemporaryDirectory(prefix="split-") as folder:
        result = validation.validate_splits(
            rows,
            settings=params.split,
            fractions=splits.fractions_of(params.assign),
            cohort=args.cohort,
            is_synthetic=summary["is_synthetic"],
            positive_means=summary["positive_means"],
            found=summary["balance"],
            folder=folder,
        )
        files.copy_folder(result.docs, args.docs)
    files.write_json(summary | {"checks": result.report, "failures": result.failures}, args.report)
    if result.failures:
        raise DataError(
            f"The splits of cohort {args.cohort!r} fail {len(result.failures)} checks:\n  "
            + "\n  ".join(result.failures)
            + f"\nSee {args.report}. Add images, or raise the limits in params.yaml: split."
        )
    files.write_csv(rows[list(schema.SPLIT_COLUMNS)], args.out)
    return _summary_line(summary)


def _summary_line(summary: dict[str, Any]) -> str:
    sizes = ", ".join(
        f"{name} {count['num_images']} ({count['num_malignant']} positive in "
        f"{count['num_malignant_groups']} groups)"
        for name, count in summary["splits"].items()
    )
    num_several, num_withheld = len(summary["groups_of_several"]), len(summary["withheld"])
    num_malignant = summary["splits"][schema.TEST]["num_malignant_groups"]
    return (
        f"{sizes}; {num_several} groups of several images, {num_withheld} images withheld; "
        f"{balance.in_words(summary['balance'])}; " + power.in_words(num_malignant, summary["expected"])
    )
