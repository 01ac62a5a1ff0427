"""What the script `promote` does: registers the challenger, judges it, moves the alias or not."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import files, fingerprint, lineage, schema, tracking
from melanoma.config.evaluation import Promote
from melanoma.data import crops
from melanoma.data.packed import Packed
from melanoma.errors import TrackingError
from melanoma.evaluation import gate
from melanoma.registry import ledger, moves, versions
from melanoma.stages import champion_scores, looks_at_test

BY = "pipelines.promote"
KEY_METRICS = ("auc_roc", "specificity_at_95_sensitivity", "expected_calibration_error")


@dataclass(frozen=True)
class Candidate:
    """The selected model of a cohort and what earlier stages wrote about it.

    Attributes:
        cohort: Its name.
        model: `baseline` or `tuned`.
        entry: Its entry of `models.json`.
        metrics: Its entry of `metrics.json`.
        data: The packed cohort.
        predictions: Of all models.
        references: Scores of the references by image.
        slices: Of the model.
        assigned: Groups of all images that were ever accepted.
        accepted: Accepted records, with `path` and `sha256` of each image.
        num_bins: Of the expected calibration error.
    """

    cohort: str
    model: str
    entry: dict[str, Any]
    metrics: dict[str, Any]
    data: Packed
    predictions: pd.DataFrame
    references: pd.DataFrame
    slices: list[dict[str, Any]]
    assigned: pd.DataFrame
    accepted: pd.DataFrame
    num_bins: int

    @property
    def name(self) -> str:
        """Of the registered model."""
        return f"melanoma-{self.cohort}"

    @property
    def digest(self) -> str:
        """Which versions are the same model: network, operating point, limits and code."""
        return looks_at_test.model_digest(self.entry)


def promote(candidate: Candidate, rules: Promote) -> dict[str, Any]:
    """Register, judge, and move `staging` where the gates are passed; what `promotion.json` holds.

    A second call with the same model finds its version, and goes on where a kill stopped the first.
    """
    run = tracking.resume_run(candidate.entry["run_id"])
    with moves.exclusive(candidate.name), tempfile.TemporaryDirectory(prefix="promote-") as folder:
        version = _register(candidate)
        versions.require_untouched(version, Path(folder))
        versions.set_alias(candidate.name, versions.CHALLENGER, version.version)
        champion = versions.find_version(candidate.name, versions.STAGING)
        is_holder = champion is not None and champion.version == version.version
        # A holder that is judged again is not its own champion: a difference of 0 would be no evidence.
        verdict = _judge(candidate, None if is_holder else champion, rules, Path(folder))
        verdict["looks"] = looks_at_test.record(
            candidate.name, candidate.data, candidate.entry, purpose=ledger.CHOOSING
        )
        previous = versions.predecessor(version, champion)
        versions.note_verdict(version, run, verdict["reasons"], previous=previous)
        _carry_out(candidate, int(version.version), verdict)
        holder = moves.holder_of(candidate.name, versions.STAGING)
    return {
        "registered_model": candidate.name,
        "version": int(version.version),
        "model": candidate.model,
        "is_promoted": verdict.pop("is_passed"),
        "previous_version": previous,
        "staging_version": holder,
        "is_synthetic": candidate.data.is_synthetic,
        "data_digest": candidate.data.digest,
        "crop": crops.kind_of(candidate.data.crop),
        "test_digest": looks_at_test.test_digest(candidate.data),
        **verdict,
    }


def _register(candidate: Candidate) -> versions.Version:
    measured, run = candidate.metrics[schema.TEST], tracking.read_run(candidate.entry["run_id"])
    with tempfile.TemporaryDirectory(prefix="register-") as folder:
        model = tracking.download(candidate.entry["model_uri"], Path(folder))
        settings = model / "artifacts" / "settings.json"
        _require_operating_point(candidate, settings)
        settings_digest = fingerprint.sha256_of_file(settings)
    tags = {
        versions.DIGEST_TAG: candidate.digest,
        versions.NETWORK_TAG: candidate.entry["network_sha256"],
        versions.SETTINGS_TAG: settings_digest,
        **{tag: candidate.entry[tag] for tag in (fingerprint.FILES_TAG, fingerprint.CODE_TAG)},
        **_crop_tags(candidate),
        "cohort": candidate.cohort,
        "model": candidate.model,
        "data_digest": candidate.data.digest,
        "is_synthetic": str(candidate.data.is_synthetic).lower(),
        "run_id": candidate.entry["run_id"],
        "tuning_run_id": run.data.tags.get("tuning_run_id", ""),
        **lineage.commit_tags(),
        **{f"test_{name}": str(measured[name]["value"]) for name in KEY_METRICS},
    }
    return versions.register(candidate.name, candidate.entry["model_uri"], tags=tags)


def _crop_tags(candidate: Candidate) -> dict[str, str]:
    """What is cut out of pictures; the digest of the U-Net where that cuts."""
    crop = candidate.data.crop
    digest = None if crop is None else crop.segmenter_sha256
    tags = {"crop": crops.kind_of(crop)}
    return tags if digest is None else tags | {versions.SEGMENTER_TAG: digest}


def _require_operating_point(candidate: Candidate, settings: Path) -> None:
    """What is served must be what was evaluated."""
    if files.read_json(settings)["operating_point"] != candidate.entry["operating_point"]:
        raise TrackingError(
            f"The logged model {candidate.entry['model_uri']} has another operating point than models.json: "
            "one of them was changed. Nothing was moved. Run `dvc repro --force evaluate`."
        )


def _judge(
    candidate: Candidate, champion: versions.Version | None, rules: Promote, folder: Path
) -> dict[str, Any]:
    contest, notes = champion_scores.prepare_contest(candidate, champion, folder)
    return gate.judge(contest, rules) | notes


def _carry_out(candidate: Candidate, number: int, verdict: dict[str, Any]) -> None:
    """Move the alias, or enter the refusal."""
    if verdict["is_passed"]:
        judged = [entry for entry in verdict["gates"] if entry["is_judged"]]
        reason = f"passed {len(judged)} gates, {len(verdict['gates']) - len(judged)} not judged"
        moves.move_alias(
            candidate.name,
            versions.STAGING,
            number,
            kind=ledger.PROMOTE,
            by=BY,
            reason=reason,
            evidence=verdict,
        )
        return
    reasons = "; ".join(verdict["reasons"])
    ledger.add(
        candidate.name,
        ledger.REFUSAL,
        by=BY,
        reason=reasons,
        tags={"alias": versions.STAGING, "version": number},
        evidence=verdict,
    )
