"""What the script `promote` does about the model card: gathers its sources, attaches it."""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import files, tracking
from melanoma.config import Params
from melanoma.data import tables
from melanoma.evaluation import model_card
from melanoma.registry import versions
from melanoma.schema import MODEL_NAMES
from melanoma.stages.promote import Candidate

BASELINE = MODEL_NAMES[0]


def write(args: argparse.Namespace, params: Params, candidate: Candidate, summary: dict[str, Any]) -> str:
    """The card of the version that was just judged."""
    tuning, seeds = files.read_json(args.tuning), files.read_json(args.seeds)
    is_baseline = candidate.model == BASELINE
    used = params.baseline.model_dump() if is_baseline else tuning["best"]["hyperparameters"]
    return model_card.write(
        model_card.Sources(
            model=candidate.model,
            entry=candidate.entry,
            metrics=files.read_json(args.metrics),
            slices=candidate.slices,
            audit=files.read_json(args.audit),
            promotion=files.as_json(summary),
            split=files.read_json(args.split),
            seeds=seeds,
            tuning=tuning,
            licences=_licences(args, params, candidate),
            hyperparameters={name: value for name, value in used.items() if value is not None},
            evaluate=params.evaluate,
        )
    )


def _licences(args: argparse.Namespace, params: Params, candidate: Candidate) -> pd.DataFrame:
    """How many images of the cohort stand under which licence, and whom to name."""
    columns = ["image_id", "licence", "attribution"]
    records = tables.read_tables(args.accepted, params.members(args.cohort), columns)
    records = records[records["image_id"].isin(candidate.data.index["image_id"])]
    by = ["dataset", "licence", "attribution"]
    return records.groupby(by, dropna=False).size().reset_index(name="images")


def attach(card: Path, summary: dict[str, Any], *, run_id: str) -> None:
    """Lay the card into the model's run, and let the version lead there."""
    tracking.resume_run(run_id).log_file(card)
    versions.describe(summary["registered_model"], summary["version"], card.read_text(encoding="utf-8"))
