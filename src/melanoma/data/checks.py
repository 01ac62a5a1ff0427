"""Checks of records and facts with Great Expectations: what stops the graph, what leaves it.

A *critical* check stops the graph when it fails. A *quarantine* check takes its failing rows out, with
the check's name as the reason. Range checks of Great Expectations pass missing values, so what must
be known has its own check.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import great_expectations as gx
import numpy as np
import pandas as pd
from great_expectations import expectations as gxe

from melanoma.config import Validate
from melanoma.data.facts import require_facts
from melanoma.errors import DataError
from melanoma.schema import BENIGN, MALIGNANT

Severity = Literal["critical", "quarantine"]

# Diagnoses whose target is beyond doubt; others are not compared with it.
TARGET_OF_DIAGNOSIS = {
    "melanoma": MALIGNANT,
    "nevus": BENIGN,
    "atypical nevus": BENIGN,
    "seborrheic keratosis": BENIGN,
}


@dataclass(frozen=True)
class Check:
    """One named expectation and what its failure means."""

    name: str
    severity: Severity
    expectation: gxe.Expectation


@dataclass(frozen=True)
class Outcome:
    """What one check found."""

    name: str
    severity: Severity
    is_passed: bool
    failing_ids: list[str]
    observed: object


def build_table(records: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """One row an image: records, facts, and the columns that say how rows relate to each other.

    Added: `label_fits_diagnosis`, `patients_of_lesion` (count), `is_repeated_file` (a later copy with
    the same bytes and label) and `has_contradicting_copy` (a copy with the same bytes, unlike label).

    Raises:
        DataError: An image has no facts; without them no check would see it.
    """
    require_facts(records, facts)
    table = records.merge(facts.drop(columns=["phashes", "thumbnail"]), on="image_id", validate="one_to_one")
    expected = table["diagnosis"].map(TARGET_OF_DIAGNOSIS).astype("Int64")
    table["label_fits_diagnosis"] = ((expected == table["target"]).fillna(True)).astype(bool)
    table["patients_of_lesion"] = _count_within(table, "lesion_id", "patient_id")
    labels_of_bytes = _count_within(table, "sha256", "target")
    table["has_contradicting_copy"] = labels_of_bytes > 1
    later = table.duplicated(["sha256", "target"]) & table["sha256"].notna()
    table["is_repeated_file"] = later & (labels_of_bytes <= 1)
    return table


def _count_within(table: pd.DataFrame, key: str, value: str) -> pd.Series:
    """Number of different known values of `value` among the rows that share `key`; 0 without key."""
    counts = table.groupby(key)[value].nunique()
    return table[key].map(counts).fillna(0).astype("int64")


def row_checks(limits: Validate) -> list[Check]:
    """The checks of single rows, by the reason that a quarantined row gets; first reason first."""

    def between(column: str, low: float | None, high: float | None = None) -> gxe.Expectation:
        return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)

    def only(column: str, *values: object) -> gxe.Expectation:
        return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(values))

    def known(column: str) -> gxe.Expectation:
        return gxe.ExpectColumnValuesToNotBeNull(column=column)

    side, bright = float(limits.min_image_side), (limits.min_brightness, limits.max_brightness)
    expectations: dict[str, gxe.Expectation] = {
        "unreadable": only("decodes", True),
        "label_missing": known("target"),
        "label_unknown": only("target", BENIGN, MALIGNANT),
        "label_contradicts_diagnosis": only("label_fits_diagnosis", True),
        "too_narrow": between("width", side),
        "too_low": between("height", side),
        "blurred": between("sharpness", limits.min_sharpness),
        "bad_exposure": between("brightness", *bright),
        "no_contrast": between("contrast", limits.min_contrast),
        "age_out_of_range": between("age_years", limits.min_age_years, limits.max_age_years),
        "licence_missing": known("licence"),
        "licence_not_allowed": only("licence", *limits.licences),
        "lesion_of_several_patients": between("patients_of_lesion", None, 1.0),
        "copy_with_unlike_label": only("has_contradicting_copy", False),
        "repeated_file": only("is_repeated_file", False),
    }
    return [Check(name, "quarantine", rule) for name, rule in expectations.items()]


def table_checks() -> list[Check]:
    """The checks of the whole table before any row is taken out."""
    expectations: dict[str, gxe.Expectation] = {
        "image_id_known": gxe.ExpectColumnValuesToNotBeNull(column="image_id"),
        "image_id_unique": gxe.ExpectColumnValuesToBeUnique(column="image_id"),
        "one_file_a_row": gxe.ExpectColumnValuesToBeUnique(column="path"),
        "origin_known": gxe.ExpectColumnValuesToNotBeNull(column="is_synthetic"),
    }
    return [Check(name, "critical", rule) for name, rule in expectations.items()]


def accepted_checks(limits: Validate) -> list[Check]:
    """The checks of what is left after quarantine: enough images, of both classes."""
    expectations: dict[str, gxe.Expectation] = {
        "enough_images": gxe.ExpectTableRowCountToBeBetween(min_value=limits.min_images),
        "class_balance": gxe.ExpectColumnMeanToBeBetween(
            column="target",
            min_value=limits.min_malignant_fraction,
            max_value=limits.max_malignant_fraction,
        ),
    }
    return [Check(name, "critical", rule) for name, rule in expectations.items()]


class Validator:
    """Runs suites of checks over tables and builds their Data Docs; keeps a context while it lives."""

    def __init__(self, folder: Path) -> None:
        """Open a Great Expectations project in the empty `folder`."""
        self._context = gx.get_context(mode="file", project_root_dir=folder)
        self._context.variables.progress_bars = {"globally": False}
        self._source = self._context.data_sources.add_pandas("tables")

    def run(self, table: pd.DataFrame, checks: list[Check], *, suite_name: str) -> list[Outcome]:
        """Judge `table` by `checks`; failing rows are named by their `image_id`."""
        suite = self._context.suites.add(gx.ExpectationSuite(name=suite_name))
        for check in checks:
            check.expectation.meta = {"check": check.name, "severity": check.severity}
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
                actions=[gx.checkpoint.UpdateDataDocsAction(name="docs")],
                result_format={
                    "result_format": "COMPLETE",
                    "unexpected_index_column_names": ["image_id"],
                },
            )
        )
        result = checkpoint.run(batch_parameters={"dataframe": _for_expectations(table)})
        (validation,) = result.run_results.values()
        return [_outcome(item, checks) for item in validation.results]

    def docs_folder(self) -> Path:
        """The folder of the Data Docs site, with its `index.html`."""
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


def _outcome(item, checks: list[Check]) -> Outcome:  # type: ignore[no-untyped-def]
    name = item.expectation_config.meta["check"]
    check = next(check for check in checks if check.name == name)
    if "unexpected_index_list" not in item.result and "observed_value" not in item.result:
        # Great Expectations reports an expectation that raised as failed, without failing rows.
        raise DataError(f"The check {name} could not be run: {item.exception_info}.")
    failing = item.result.get("unexpected_index_list") or []
    return Outcome(
        name=name,
        severity=check.severity,
        is_passed=bool(item.success),
        failing_ids=sorted({str(row["image_id"]) for row in failing}),
        observed=item.result.get("observed_value"),
    )


def quarantine_reasons(outcomes: list[Outcome]) -> dict[str, list[str]]:
    """The reasons of each image that must leave, in the order of the checks."""
    reasons: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.severity == "quarantine":
            for image_id in outcome.failing_ids:
                reasons.setdefault(image_id, []).append(outcome.name)
    return reasons
