"""Runs checks over tables with Great Expectations and builds their Data Docs."""

from dataclasses import dataclass
from pathlib import Path

import great_expectations as gx
import numpy as np
import pandas as pd
from great_expectations import expectations as gxe

from melanoma.config.data import Severity
from melanoma.errors import DataError


@dataclass(frozen=True)
class Check:
    """A named expectation, whose description is the rule in words, and the severity of its failure."""

    name: str
    severity: Severity
    expectation: gxe.Expectation


@dataclass(frozen=True)
class Outcome:
    """The result of a check.

    Attributes:
        name: Name of the check.
        severity: Severity of its failure.
        is_passed: Whether all rows, or the table, pass.
        expected: The rule in words.
        observed: Failing values by id for a rule of single rows, otherwise the value of the table.
        failing_ids: Sorted ids of failing rows.
    """

    name: str
    severity: Severity
    is_passed: bool
    expected: str
    observed: object
    failing_ids: list[str]


class Validator:
    """Runs suites of checks over tables and builds their Data Docs, in one Great Expectations context."""

    def __init__(self, folder: Path, *, run_name: str) -> None:
        """Open a Great Expectations project in the empty `folder`; `run_name` is shown in the Data Docs."""
        self._run_name = run_name
        self._context = gx.get_context(mode="file", project_root_dir=folder)
        self._context.variables.progress_bars = {"globally": False}
        self._source = self._context.data_sources.add_pandas("tables")

    def run(
        self, table: pd.DataFrame, checks: list[Check], *, suite_name: str, id_column: str = "image_id"
    ) -> list[Outcome]:
        """Run `checks` on `table`, in their order; failing rows are named by `id_column`."""
        suite = self._context.suites.add(gx.ExpectationSuite(name=suite_name))
        expected = {check.name: str(check.expectation.description) for check in checks}
        for check in checks:
            check.expectation.meta = {"check": check.name}
            check.expectation.description = f"{check.name} ({check.severity}): {expected[check.name]}"
            suite.add_expectation(check.expectation)
        asset = self._source.add_dataframe_asset(name=suite_name)
        batch = asset.add_batch_definition_whole_dataframe("all")
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=suite_name, data=batch, suite=suite)
        )
        checkpoint = self._context.checkpoints.add(
            gx.Checkpoint(
                name=suite_name,
                validation_definitions=[definition],
                result_format={
                    "result_format": "COMPLETE",
                    "unexpected_index_column_names": [id_column],
                },
            )
        )
        result = checkpoint.run(
            {"dataframe": _for_expectations(table)}, run_id=gx.RunIdentifier(run_name=self._run_name)
        )
        (validation,) = result.run_results.values()
        items = {item.expectation_config.meta["check"]: item for item in validation.results}
        return [
            _outcome(check, items[check.name], expected[check.name], id_column=id_column) for check in checks
        ]

    def build_docs(self) -> Path:
        """Write the Data Docs of all runs so far, and return the folder of the site."""
        self._context.build_data_docs()
        root = Path(str(self._context.root_directory))
        return root / "uncommitted" / "data_docs" / "local_site"


def _for_expectations(table: pd.DataFrame) -> pd.DataFrame:
    """Plain numpy types: float with nan for numbers, object with None for words and flags."""
    plain = {}
    for name, column in table.items():
        if pd.api.types.is_bool_dtype(column.dtype) or not pd.api.types.is_numeric_dtype(column):
            values = column.astype(object)
            plain[name] = values.where(values.notna(), None)
        else:
            plain[name] = pd.Series(column.to_numpy("float64", na_value=np.nan), column.index)
    return pd.DataFrame(plain)


def _outcome(check: Check, item, expected: str, *, id_column: str) -> Outcome:  # type: ignore[no-untyped-def]
    if "unexpected_index_list" not in item.result and "observed_value" not in item.result:
        # Great Expectations reports an expectation that raised as failed, without failing rows.
        raise DataError(f"The check {check.name} failed to run: {item.exception_info}.")
    rows = item.result.get("unexpected_index_list")
    failing = {str(row.pop(id_column)): _value(row) for row in rows or []}
    return Outcome(
        name=check.name,
        severity=check.severity,
        is_passed=bool(item.success),
        expected=expected,
        observed=item.result.get("observed_value") if rows is None else failing,
        failing_ids=sorted(failing),
    )


def _value(row: dict[str, object]) -> object:
    """The value of a failing row, or all values if the rule compares columns."""
    values = list(row.values())
    return values[0] if len(values) == 1 else values or None


def quarantine_reasons(outcomes: list[Outcome]) -> dict[str, list[str]]:
    """The reasons of each quarantined image, in the order of the checks."""
    reasons: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.severity == "quarantine":
            for image_id in outcome.failing_ids:
                reasons.setdefault(image_id, []).append(outcome.name)
    return reasons
