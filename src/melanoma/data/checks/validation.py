"""Runs the checks of datasets and splits: what is accepted, quarantined, or stops the graph."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import metric_names
from melanoma.config.data import Split, Validate
from melanoma.data.checks import check_tables, data_docs, suites
from melanoma.data.checks.validator import Outcome, Validator, quarantine_reasons
from melanoma.data.targets import count_without_diagnosis
from melanoma.errors import DataError, first_offenders
from melanoma.schema import NEGATIVE, NOT_A_DEVICE, POSITIVE, RECORD_COLUMNS


@dataclass(frozen=True)
class Validation:
    """The result for a dataset.

    Attributes:
        accepted: Records that passed, with `sha256` of the file.
        quarantined: `image_id`, `path`, `reasons` (joined by `; `, the most informative first) and `problem`
            of the other records.
        report: Content of `reports/validation/<dataset>.json`.
        failures: A sentence for each critical check that failed.
        docs: Folder of the Data Docs, in the temporary project.
    """

    accepted: pd.DataFrame
    quarantined: pd.DataFrame
    report: dict[str, Any]
    failures: list[str]
    docs: Path


def origin_note(*, is_synthetic: bool, positive_means: str) -> str:
    """The note on everything that shows these images."""
    kind = "SYNTHETIC images, not real ones · " if is_synthetic else ""
    return f"{kind}positive means {positive_means} · {NOT_A_DEVICE}"


def validate(
    records: pd.DataFrame,
    facts: pd.DataFrame,
    limits: Validate,
    *,
    dataset: str,
    positive_means: str,
    folder: str,
) -> Validation:
    """Run all checks of a dataset.

    Copies are checked last, among the rows that pass everything else, so that one of several stays.

    Args:
        records: Records of the dataset, columns `schema.RECORD_COLUMNS`.
        facts: Facts of the same images.
        limits: Section `validate` of params.yaml.
        dataset: Dataset name.
        positive_means: What `positive` means, in words.
        folder: An empty folder in which Great Expectations works.
    """
    validator = Validator(Path(folder), run_name=dataset)
    found = _find_faults(validator, records, facts, limits, dataset=dataset)
    reasons = quarantine_reasons(_all(found))
    table = check_tables.build_image_table(records, facts)
    outcome = check_tables.build_outcome_table(table, list(reasons))
    suite = f"{dataset}-outcome"
    found[suite] = validator.run(outcome, suites.outcome_checks(limits), suite_name=suite)

    is_accepted = outcome["is_accepted"] == 1
    accepted = table.loc[is_accepted, [*RECORD_COLUMNS, "sha256"]].reset_index(drop=True)
    quarantined = _quarantined(table[~is_accepted], reasons)
    report = _report(dataset, table, accepted=accepted, reasons=reasons, outcomes=_all(found))
    report["positive_means"] = positive_means
    report["note"] = origin_note(is_synthetic=report["is_synthetic"], positive_means=positive_means)
    docs = validator.build_docs()
    data_docs.finish(
        docs,
        found,
        title=f"Validation of {dataset}",
        summary=summary_line(report),
        note=report["note"],
    )
    return Validation(accepted, quarantined, report, report["failures"], docs)


def _find_faults(
    validator: Validator,
    records: pd.DataFrame,
    facts: pd.DataFrame,
    limits: Validate,
    *,
    dataset: str,
) -> dict[str, list[Outcome]]:
    """The outcomes of all checks of columns and images, by suite."""
    columns = check_tables.build_column_table(records, facts)
    suite = f"{dataset}-columns"
    found = {
        suite: validator.run(columns, suites.column_checks(limits), suite_name=suite, id_column="column")
    }
    images = check_tables.build_image_table(records, facts, excluded_ids=limits.excluded_ids)
    suite = f"{dataset}-images"
    found[suite] = validator.run(images, suites.image_checks(limits), suite_name=suite)
    left = images["image_id"].isin(list(quarantine_reasons(found[suite])))
    suite = f"{dataset}-copies"
    copies = check_tables.build_copy_table(images[~left])
    found[suite] = validator.run(copies, suites.copy_checks(limits), suite_name=suite)
    return found


def _quarantined(table: pd.DataFrame, reasons: dict[str, list[str]]) -> pd.DataFrame:
    joined = ["; ".join(reasons[image_id]) for image_id in table["image_id"]]
    named = table.assign(reasons=pd.Series(joined, index=table.index, dtype="string"))
    return named[["image_id", "path", "reasons", "problem"]].reset_index(drop=True)


def _all(found: dict[str, list[Outcome]]) -> list[Outcome]:
    return [outcome for outcomes in found.values() for outcome in outcomes]


def _sentences(outcomes: list[Outcome], severity: str) -> list[str]:
    """The failed checks of `severity`, each with its first failing ids or with what was observed."""
    return [
        f"{outcome.name}: "
        + (
            first_offenders(outcome.failing_ids)
            or f"observed {_rounded(outcome.observed)}, expected {outcome.expected}"
        )
        for outcome in outcomes
        if outcome.severity == severity and not outcome.is_passed
    ]


def _rounded(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def _entry(outcome: Outcome) -> dict[str, Any]:
    return {
        "check": outcome.name,
        "severity": outcome.severity,
        "is_passed": outcome.is_passed,
        "expected": outcome.expected,
        "observed": outcome.observed,
        "num_failing": len(outcome.failing_ids),
        "failing_ids": outcome.failing_ids,
    }


def _report(
    dataset: str,
    table: pd.DataFrame,
    *,
    accepted: pd.DataFrame,
    reasons: dict[str, list[str]],
    outcomes: list[Outcome],
) -> dict[str, Any]:
    is_synthetic = bool(table["is_synthetic"].any())
    return {
        "dataset": dataset,
        "is_synthetic": is_synthetic,
        "num_images": len(table),
        "num_accepted": len(accepted),
        "num_malignant": int((accepted["target"] == POSITIVE).sum()),
        "num_benign": int((accepted["target"] == NEGATIVE).sum()),
        "num_quarantined": len(table) - len(accepted),
        **count_without_diagnosis(table),
        "failures": _sentences(outcomes, "critical"),
        "warnings": _sentences(outcomes, "warn"),
        "quarantined": {image_id: reasons[image_id] for image_id in sorted(reasons)},
        "checks": [_entry(outcome) for outcome in outcomes],
    }


def summary_line(report: dict[str, Any]) -> str:
    """One line: counts of accepted and quarantined images, reasons and warnings."""
    reasons = Counter(why[0] for why in report["quarantined"].values())
    noticed = {
        entry["check"]: max(entry["num_failing"], 1)
        for entry in report["checks"]
        if entry["severity"] == "warn" and not entry["is_passed"]
    }
    line = f"{report['num_accepted']} of {report['num_images']} accepted"
    line += f", {report['num_quarantined']} quarantined"
    line += _in_brackets(dict(sorted(reasons.items())))
    return line + (f", {sum(noticed.values())} warnings" + _in_brackets(noticed) if noticed else "")


def _in_brackets(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{count} {name}' for name, count in counts.items())})" if counts else ""


def metrics(report: dict[str, Any]) -> dict[str, float]:
    """`data/num_accepted`, …, and `data/num_failing/<check>` of every check: counts by name of the metric."""
    counts = {name: float(value) for name, value in report.items() if name.startswith("num_")}
    failing = {f"num_failing/{entry['check']}": float(entry["num_failing"]) for entry in report["checks"]}
    return metric_names.in_section(metric_names.DATA, counts | failing)


def require_passed(result: Validation, report: Path) -> None:
    """Raise a `DataError` that names the critical checks that failed, if there are any."""
    if result.failures:
        raise DataError(
            f"dataset {result.report['dataset']!r} fails {len(result.failures)} critical checks:\n  "
            + "\n  ".join(result.failures)
            + f"\nSee {report}. Correct the data, or the limits in params.yaml: validate."
        )


@dataclass(frozen=True)
class SplitValidation:
    """The result for the splits of a cohort.

    Attributes:
        report: One entry per check, as `checks` in the report of a dataset.
        failures: A sentence for each check that failed; all are critical.
        docs: Folder of the Data Docs, in the temporary project.
    """

    report: list[dict[str, Any]]
    failures: list[str]
    docs: Path


def validate_splits(
    rows: pd.DataFrame,
    *,
    settings: Split,
    fractions: dict[str, float],
    cohort: str,
    is_synthetic: bool,
    positive_means: str,
    found: dict[str, Any],
    folder: str,
) -> SplitValidation:
    """Run all checks of the splits of a cohort.

    Sides that hold other kinds of images are only warned of: small cohorts differ by chance.

    Args:
        rows: Columns `schema.SPLIT_COLUMNS` and, where known, `sha256`.
        settings: Section `split` of params.yaml.
        fractions: Expected fraction of images by split.
        cohort: Cohort name.
        is_synthetic: Whether any image is synthetic.
        positive_means: What `positive` means, in words.
        found: Balance of the sides, from `balance.measure`.
        folder: An empty folder in which Great Expectations works.
    """
    validator = Validator(Path(folder), run_name=cohort)
    suite = f"{cohort}-splits"
    is_malignant = rows["target"].dropna() == POSITIVE
    checks = suites.split_checks(settings, fractions, float(is_malignant.mean()))
    outcomes = validator.run(check_tables.build_split_table(rows), checks, suite_name=suite)
    num_failed = sum(not outcome.is_passed for outcome in outcomes)
    by_suite = {suite: outcomes}
    if balance_checks := suites.balance_checks(found):
        name = f"{cohort}-balance"
        sides = check_tables.build_balance_table(found)
        by_suite[name] = validator.run(sides, balance_checks, suite_name=name, id_column="side")
    docs = validator.build_docs()
    data_docs.finish(
        docs,
        by_suite,
        title=f"Splits of cohort {cohort}",
        summary=f"{len(rows)} images, {num_failed} of {len(outcomes)} checks failed",
        note=origin_note(is_synthetic=is_synthetic, positive_means=positive_means),
    )
    report = [_entry(outcome) for outcome in _all(by_suite)]
    return SplitValidation(report, _sentences(outcomes, "critical"), docs)
