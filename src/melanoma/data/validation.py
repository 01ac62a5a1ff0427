"""Judge one dataset by its checks: what is accepted, what is quarantined and why, what stops the graph."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma.config import Validate
from melanoma.data import checks
from melanoma.data.checks import Outcome
from melanoma.errors import DataError, first_offenders
from melanoma.schema import BENIGN, MALIGNANT, RECORD_COLUMNS


@dataclass(frozen=True)
class Validation:
    """The verdict on a dataset.

    Attributes:
        accepted: Records that passed, with `sha256` of the file.
        quarantined: `image_id`, `path`, `reasons` (joined by `; `), `problem` of files that left.
        report: What `reports/validation/<dataset>.json` holds.
        failures: A sentence for each critical check that failed.
        docs: Folder of the Data Docs, in the temporary project.
    """

    accepted: pd.DataFrame
    quarantined: pd.DataFrame
    report: dict[str, Any]
    failures: list[str]
    docs: Path


def validate(
    records: pd.DataFrame, facts: pd.DataFrame, limits: Validate, *, dataset: str, folder: str
) -> Validation:
    """Run all checks.

    Args:
        records: Of one dataset, columns `schema.RECORD_COLUMNS`.
        facts: Of the same images.
        limits: `params.yaml: validate`.
        dataset: Its name.
        folder: An empty folder for Great Expectations to work in.
    """
    table = checks.build_table(records, facts)
    validator = checks.Validator(Path(folder))
    outcomes = validator.run(table, checks.table_checks(), suite_name=f"{dataset}-table")
    outcomes += validator.run(table, checks.row_checks(limits), suite_name=f"{dataset}-rows")
    reasons = checks.quarantine_reasons(outcomes)
    kept = ~table["image_id"].isin(list(reasons))
    accepted = table.loc[kept, [*RECORD_COLUMNS, "sha256"]].reset_index(drop=True)
    outcomes += validator.run(table[kept], checks.accepted_checks(limits), suite_name=f"{dataset}-accepted")
    left = table.loc[~kept, ["image_id", "path", "problem"]]
    quarantined = left.assign(reasons=left["image_id"].map(lambda name: "; ".join(reasons[name])))
    failures = _failures(outcomes, len(reasons) / len(table), limits)
    return Validation(
        accepted=accepted,
        quarantined=quarantined[["image_id", "path", "reasons", "problem"]],
        report=_report(dataset, table, accepted, outcomes, reasons) | {"failures": failures},
        failures=failures,
        docs=validator.docs_folder(),
    )


def _failures(outcomes: list[Outcome], left_fraction: float, limits: Validate) -> list[str]:
    failures = []
    for outcome in outcomes:
        if outcome.severity == "critical" and not outcome.is_passed:
            found = first_offenders(outcome.failing_ids) or f"observed {outcome.observed}"
            failures.append(f"{outcome.name}: {found}")
    if left_fraction > limits.max_quarantined_fraction:
        failures.append(
            f"quarantined_fraction: {left_fraction:.2f} of the images would leave, at most "
            f"{limits.max_quarantined_fraction:g} may"
        )
    return failures


def _report(
    dataset: str,
    table: pd.DataFrame,
    accepted: pd.DataFrame,
    outcomes: list[Outcome],
    reasons: dict[str, list[str]],
) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "is_synthetic": bool(table["is_synthetic"].any()),
        "num_images": len(table),
        "num_accepted": len(accepted),
        "num_malignant": int((accepted["target"] == MALIGNANT).sum()),
        "num_benign": int((accepted["target"] == BENIGN).sum()),
        "num_quarantined": len(reasons),
        "quarantined": {image_id: reasons[image_id] for image_id in sorted(reasons)},
        "checks": [
            {
                "check": outcome.name,
                "severity": outcome.severity,
                "is_passed": outcome.is_passed,
                "num_failing": len(outcome.failing_ids),
                "failing_ids": outcome.failing_ids,
            }
            for outcome in outcomes
        ],
    }


def headline(result: Validation) -> str:
    """One line: how many passed, how many left and for which reasons."""
    counts: dict[str, int] = {}
    for reasons in result.report["quarantined"].values():
        counts[reasons[0]] = counts.get(reasons[0], 0) + 1
    why = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.items()))
    left = f"{result.report['num_quarantined']} quarantined" + (f" ({why})" if why else "")
    return f"{result.report['num_accepted']} of {result.report['num_images']} accepted, {left}"


def require_passed(result: Validation, report: Path) -> None:
    """Stop the graph when a critical check failed.

    Raises:
        DataError: Names the failed checks; `report` holds all of them.
    """
    if result.failures:
        raise DataError(
            f"dataset {result.report['dataset']!r} fails {len(result.failures)} critical checks:\n  "
            + "\n  ".join(result.failures)
            + f"\nSee {report}. Mend the data, or the limits in params.yaml: validate."
        )
