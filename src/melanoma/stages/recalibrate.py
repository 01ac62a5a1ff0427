"""Body of the command `recalibrate`: a version for one clinic, with the network of another version.

Only calibration and operating point are new. They are fitted on labelled answers of the version in that
clinic, and judged there by cross-fitting (`monitoring.recalibration`). What the labels cannot judge, because
it needs other models or slices, is listed as not judged; the version whose network is taken must have passed
its gates.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import files
from melanoma.config import Params
from melanoma.data import crops
from melanoma.errors import DataError, first_offenders
from melanoma.evaluation import gate
from melanoma.evaluation.bootstrap import Draws, in_words
from melanoma.evaluation.contest import Contest
from melanoma.evaluation.contest import Served as Judged
from melanoma.monitoring import recalibration, records
from melanoma.monitoring.recalibration import Labelled, Recalibration
from melanoma.registry import ledger, versions
from melanoma.stages import labelled_answers, recalibrated_version
from melanoma.stages import records as stored
from melanoma.stages.recalibrated_version import BY, Source

ROUNDING = 1e-6  # of recorded probabilities
IMAGES = "labelled images of the clinic"
NOT_JUDGED = (
    "must_beat_references: the references have no answers for these images",
    "max_primary_drop, max_specificity_drop: another calibration ranks all images as before",
    "min_worst_slice_auc_roc: records do not say to which slice an image belongs",
)


@dataclass(frozen=True)
class Asked:
    """What is recalibrated.

    Attributes:
        model: Name of the registered model.
        clinic: Name of the clinic.
        number: Number of the version whose network is used; None for the one with the alias `staging`.
        place: Folder or `s3://bucket/folder` of the clinic's records.
        labels: Label files, see `monitoring.labels`.
        since: First time of the answers, UTC; None for all.
        until: Time before which they lie, UTC; None for all.
        out: JSON file to write.
    """

    model: str
    clinic: str
    number: int | None
    place: str
    labels: Sequence[Path]
    since: datetime | None
    until: datetime | None
    out: Path


def run(asked: Asked, params: Params) -> str:
    """Fit, judge and register a version; move the alias of the clinic, and write a JSON file.

    Safe to repeat: the same labels find the same version.

    Args:
        asked: What is recalibrated.
        params: Content of params.yaml; sections `recalibrate`, `evaluate`, `promote` and `queue`.

    Returns:
        A summary line.

    Raises:
        DataError: The labels are too few, recalibration is not shown to help, or a gate fails: nothing is
            registered.
        TrackingError: There is no such version, it has not passed its gates, or its files were changed.
    """
    _require_name(asked.clinic)
    with tempfile.TemporaryDirectory(prefix="recalibrate-") as folder:
        source = Source.open(versions.numbered_or_staged(asked.model, asked.number), Path(folder))
        labelled, counts = _read(asked, source, params)
        found = recalibration.recalibrate(
            labelled, source.settings.operating_point, params.recalibrate, params.evaluate
        )
        rules = params.promote.model_copy(update={"min_worst_slice_auc_roc": None, "min_shadow_rows": None})
        verdict = gate.judge(_contest(labelled, found, source, params), rules)
        result = files.as_json(
            _describe(asked, source, counts, found, verdict, method=params.evaluate.calibration)
        )
        if result["reasons"]:
            _refuse(asked, source, result)
        number, previous = recalibrated_version.stage(source, asked.clinic, found.point, result, asked.out)
    before = "nothing" if previous is None else f"version {previous}"
    others = ", ".join(f"{num} {what}" for what, num in counts["problems"].items())
    return (
        f"{asked.model}: {versions.staging_of(asked.clinic)} is version {number} now, {before} before; "
        f"{_in_short(result)}{f'; left out: {others}' if others else ''} -> {asked.out}"
    )


def _require_name(clinic: str) -> None:
    if not versions.CLINIC.fullmatch(clinic):
        raise DataError(
            f"{clinic!r} cannot name a clinic: expected 1 to 60 lower-case letters, digits and hyphens, not "
            "beginning or ending with a hyphen, for instance north-2. It becomes part of an alias."
        )


def _read(asked: Asked, source: Source, params: Params) -> tuple[Labelled, dict[str, Any]]:
    """The labelled answers on which the version is recalibrated, and what was counted on the way."""
    with stored.opened(asked.place) as folder:
        found = records.read(folder, spool=stored.local_spool(asked.place))
        rows, others = stored.of_version(found.rows, source.version)
        is_in = pd.Series(True, index=rows.index)
        if asked.since is not None:
            is_in &= rows["time"] >= asked.since
        if asked.until is not None:
            is_in &= rows["time"] < asked.until
        rows = rows[is_in].reset_index(drop=True)
        answers, problems = labelled_answers.of_audit(rows, found.rows, folder, asked.labels)
    if answers.empty:
        left_out = "".join(f"; {number} {what}" for what, number in others.items())
        raise DataError(
            f"{len(rows)} rows of {source.name} in {asked.place}{left_out}. {' '.join(problems)} To use all "
            "labels of a clinic that labels all its images, set queue.audit_fraction: 1 before the draw."
        )
    least = labelled_answers.least_probability(answers, params)
    drawn = labelled_answers.equally_drawn(answers, least)
    given = drawn[drawn["label"].notna()].merge(
        rows[["prediction_id", "score", "probability", "network_sha256"]], on="prediction_id"
    )
    labelled = Labelled(
        given["label"].to_numpy(int), given["score"].to_numpy(float), given["group_id"].to_numpy(str)
    )
    _require_enough(asked, labelled, params, least=least, problems=problems)
    _require_own_answers(source, given)
    num_drawn = drawn["group_id"].nunique()
    return labelled, {
        "num_images": len(given),
        "num_groups": labelled.num_groups(),
        "num_positive_groups": labelled.num_groups(1),
        "num_drawn_groups": num_drawn,
        "num_unlabelled_groups": num_drawn - labelled.num_groups(),
        "probability_drawn": least,
        "problems": {**found.problems, **others},
        "notes": problems,
    }


def _require_enough(
    asked: Asked, labelled: Labelled, params: Params, *, least: float, problems: Sequence[str]
) -> None:
    missing = recalibration.missing(labelled, params.recalibrate)
    if missing:
        notes = "".join(f"; {line}" for line in problems)
        raise DataError(
            f"{asked.model} cannot be recalibrated for {asked.clinic}: {'; '.join(missing)}. Only groups "
            f"count that the audit draws with a probability of {least:g}{notes}. Run `python -m "
            "pipelines.queue`, label what it lists, and give all label files."
        )


def _require_own_answers(source: Source, given: pd.DataFrame) -> None:
    """Refuse answers that were not given by this network and operating point."""
    own = source.settings.operating_point.calibration.apply(given["score"].to_numpy(float))
    is_own = given["network_sha256"].eq(source.settings.network_sha256).fillna(False).to_numpy(bool)
    is_bad = ~(is_own & (np.abs(own - given["probability"].to_numpy(float)) <= ROUNDING))
    if is_bad.any():
        raise DataError(
            f"{is_bad.sum()} of {len(is_bad)} labelled answers are recorded as those of {source.name}, but "
            "their score, probability or network is another: "
            f"{first_offenders(given.loc[is_bad, 'prediction_id'])}. Nothing was registered. Leave these "
            "records out with --since and --until, or find out which server wrote them."
        )


def _contest(labelled: Labelled, found: Recalibration, source: Source, params: Params) -> Contest:
    """The recalibrated model alone, with its cross-fitted answers."""
    settings, crossed = params.recalibrate, found.crossed
    return Contest(
        target=labelled.target,
        group_ids=labelled.group_ids,
        challenger=Judged(crossed.probability, found.point, crossed=crossed.threshold),
        champion=None,
        references={},
        draws=Draws(settings.num_bootstrap_draws, settings.seed),
        num_bins=params.evaluate.num_calibration_bins,
        crop=crops.kind_of(source.settings.crop),
        images=IMAGES,
    )


def _describe(
    asked: Asked,
    source: Source,
    counts: Mapping[str, Any],
    found: Recalibration,
    verdict: Mapping[str, Any],
    *,
    method: str,
) -> dict[str, Any]:
    """Content of the JSON file, and evidence of the ledger."""
    return {
        "registered_model": asked.model,
        "clinic": asked.clinic,
        "recalibrated_from": int(source.version.version),
        "is_synthetic": source.settings.is_synthetic,
        "positive_means": source.settings.positive_means,
        **counts,
        "gain": found.gain,
        "before": found.before,
        "after": found.after,
        "operating_point": found.point.to_dict(),
        "gates": verdict["gates"],
        "not_judged": NOT_JUDGED,
        "reasons": [*found.why_not(method), *verdict["reasons"]],
    }


def _refuse(asked: Asked, source: Source, result: Mapping[str, Any]) -> None:
    """Record the refusal and raise it."""
    reasons = "; ".join(result["reasons"])
    ledger.add(
        asked.model,
        ledger.REFUSAL,
        by=BY,
        reason=reasons,
        tags={
            "alias": versions.staging_of(asked.clinic),
            "version": source.version.version,
            versions.CLINIC_TAG: asked.clinic,
        },
        evidence=result,
    )
    raise DataError(
        f"{source.name} was not recalibrated for {asked.clinic} ({result['num_groups']} labelled groups, "
        f"{result['num_positive_groups']} positive): {reasons}. Nothing was registered."
    )


def _in_short(result: Mapping[str, Any]) -> str:
    return (
        f"recalibrated from version {result['recalibrated_from']} on {result['num_groups']} groups "
        f"({result['num_positive_groups']} positive), gain in log loss "
        f"{in_words(result['gain'][recalibration.GAINS[0]])}"
    )
