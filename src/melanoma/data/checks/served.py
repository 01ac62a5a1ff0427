"""Checks the images that a served model was asked about in a window of time."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma.config.data import Validate
from melanoma.data.checks import data_docs, suites
from melanoma.data.checks.validator import Outcome, Validator
from melanoma.schema import NOT_A_DEVICE

SUITE = "served-images"
MAX_NAMED = 5  # failing images of a check, in JSON


def check(
    images: pd.DataFrame,
    bounds: Mapping[str, tuple[float | None, float | None]],
    limits: Validate,
    *,
    title: str,
    folder: Path,
) -> tuple[list[dict[str, Any]], Path]:
    """Run the checks and build the Data Docs.

    Args:
        images: One row per record: `prediction_id`, `is_answered`, `smaller_side` and the facts of `bounds`.
        bounds: See `suites.served_checks`.
        limits: Section `validate` of params.yaml.
        title: Title of the Data Docs.
        folder: An empty folder in which Great Expectations works.

    Returns:
        An entry for each check: `check`, `is_passed`, `expected`, `num_failing` and the first failing ids;
        and the folder of the Data Docs.
    """
    validator = Validator(folder, run_name=SUITE)
    checks = suites.served_checks(bounds, limits)
    outcomes = validator.run(images, checks, suite_name=SUITE, id_column="prediction_id")
    docs = validator.build_docs()
    failing = sum(not one.is_passed for one in outcomes)
    summary = f"{len(images)} images; {failing} of {len(outcomes)} checks are not passed by all"
    data_docs.finish(docs, {SUITE: outcomes}, title=title, summary=summary, note=NOT_A_DEVICE)
    return [_entry(one) for one in outcomes], docs


def _entry(outcome: Outcome) -> dict[str, Any]:
    kept = {name: value for name, value in asdict(outcome).items() if name in ("is_passed", "expected")}
    num_failing = len(outcome.failing_ids)
    return {
        "check": outcome.name,
        **kept,
        "num_failing": num_failing,
        "failing": outcome.failing_ids[:MAX_NAMED],
    }
