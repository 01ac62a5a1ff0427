"""Part of the command `recalibrate`: log, register and stage a version that shares a network."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from melanoma import files, fingerprint, lineage, tracking
from melanoma.errors import TrackingError
from melanoma.evaluation import asked_and_got
from melanoma.evaluation.bootstrap import explained
from melanoma.monitoring import reference
from melanoma.registry import ledger, moves, versions
from melanoma.schema import NOT_A_DEVICE
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.serving import export
from melanoma.serving.network import Network
from melanoma.serving.settings import Settings

BY = "pipelines.recalibrate"
# Tags of a version that are about its network.
SHARED = (
    versions.NETWORK_TAG,
    versions.SEGMENTER_TAG,
    "crop",
    "cohort",
    "model",
    "data_digest",
    "is_synthetic",
    "positive_means",
    "run_id",
    "tuning_run_id",
    "test_auc_roc",  # another calibration ranks all images as before
)
SHOWN = {
    "calibration_intercept": "calibration intercept (0 is ideal)",
    "calibration_slope": "calibration slope (1 is ideal)",
    "sensitivity": "sensitivity at the threshold",
    "specificity": "specificity at the threshold",
    "log_loss": "log loss",
    "brier_score": "Brier score",
}


@dataclass(frozen=True)
class Source:
    """A version whose network is used.

    Attributes:
        version: The version.
        artifacts: Folder of its files, which are those that were registered.
        settings: Its settings.
    """

    version: versions.Version
    artifacts: Path
    settings: Settings

    @property
    def name(self) -> str:
        """For a sentence."""
        return f"{self.version.name} version {self.version.version}"

    @classmethod
    def open(cls, version: versions.Version, folder: Path) -> "Source":
        """Download a version below `folder`.

        Raises:
            TrackingError: It has not passed its gates, its files were changed, or it takes no reference.
        """
        verdict = version.tags.get(versions.GATE_TAG, "not judged")
        if verdict not in (versions.PASSED, versions.ACCEPTED):
            raise TrackingError(
                f"{version.name} version {version.version} was {verdict} by the gates. Only a version that "
                "passed them, or that a person accepted, can be recalibrated."
            )
        artifacts = versions.require_untouched(version, folder) / "artifacts"
        if not (artifacts / export.REFERENCE_FILE).exists():
            raise TrackingError(
                f"{version.name} version {version.version} takes no reference along: an earlier version of "
                "the code logged it. Run `dvc repro` to log it again."
            )
        return cls(version, artifacts, Settings.read(artifacts / "settings.json"))

    def optional(self, name: str) -> Path | None:
        """Path of an artifact; None if the version has none."""
        path = self.artifacts / name
        return path if path.exists() else None


def stage(
    source: Source, clinic: str, point: OperatingPoint, result: Mapping[str, Any], out: Path
) -> tuple[int, int | None]:
    """Register a version with a new operating point, and let the alias of a clinic point to it.

    A version that was made of the same network, clinic, labels and code is found again.

    Args:
        source: The version whose network is used.
        clinic: Name of the clinic.
        point: The operating point.
        result: Content of `out` but for the number of the version, `version`.
        out: JSON file to write; the run keeps a copy.

    Returns:
        Number of the version, and of the one that held the alias before; None if there was none.
    """
    name, alias = source.version.name, versions.staging_of(clinic)
    with moves.exclusive(name):
        digest = _digest(source, clinic, point)
        version = versions.find_same(name, digest) or _register(source, clinic, point, result, digest)
        number = int(version.version)
        content = {**result, "version": number}
        run = tracking.resume_run(version.tags[versions.RECALIBRATION_TAG])
        files.write_json(content, out)
        run.log_file(out)
        previous = versions.predecessor(version, versions.find_version(name, alias))
        versions.describe(name, number, _card(content))
        versions.note_verdict(version, run, [], word=versions.PASSED, previous=previous)
        tags = {versions.CLINIC_TAG: clinic, versions.SOURCE_TAG: source.version.version}
        reason = f"recalibrated on {result['num_groups']} labelled groups of {clinic}, and passed its gates"
        moves.move_alias(
            name, alias, number, kind=ledger.RECALIBRATE, by=BY, reason=reason, evidence=content, tags=tags
        )
    return number, previous


def _digest(source: Source, clinic: str, point: OperatingPoint) -> str:
    """Identity of the version: network and settings of the source, clinic, operating point and code."""
    made_of = {
        "source": source.version.tags[versions.DIGEST_TAG],
        "clinic": clinic,
        "operating_point": point.to_dict(),
        "code_sha256": fingerprint.digest_of_code(),
    }
    made = files.sha256_of_json(files.as_json(made_of))
    return f"{source.settings.network_sha256[:16]}@{made[:16]}"


def _register(
    source: Source, clinic: str, point: OperatingPoint, result: Mapping[str, Any], digest: str
) -> versions.Version:
    """Log the model to a run of its own, and register it."""
    tags = {name: value for name in SHARED if (value := source.version.tags.get(name)) is not None}
    tags |= {versions.CLINIC_TAG: clinic, versions.SOURCE_TAG: str(source.version.version)}
    tags |= lineage.commit_tags()
    with tracking.open_run(
        experiment=source.version.name,
        name=f"recalibrate version {source.version.version} for {clinic}",
        tags={key: value for key, value in tags.items() if key != "run_id"},
        note=f"Calibration and operating point of {source.name} for the clinic {clinic}. {NOT_A_DEVICE}.",
    ) as run:
        run.log_metrics(_metrics(result))
        uri = _log(source, point, run.run_id)
        with tempfile.TemporaryDirectory(prefix="recalibrated-") as folder:
            model = tracking.download(uri, Path(folder))
            digests = {
                fingerprint.FILES_TAG: fingerprint.digest_of_files(model),
                versions.SETTINGS_TAG: fingerprint.sha256_of_file(model / "artifacts" / "settings.json"),
            }
        tags |= digests | {
            versions.DIGEST_TAG: digest,
            versions.RECALIBRATION_TAG: run.run_id,
            fingerprint.CODE_TAG: fingerprint.digest_of_code(),
        }
        return versions.register(source.version.name, uri, tags=tags)


def _metrics(result: Mapping[str, Any]) -> dict[str, float]:
    measured = {f"clinic/{when}_{name}": result[when][name] for when in ("before", "after") for name in SHOWN}
    measured |= {f"clinic/gain_{name}": entry for name, entry in result["gain"].items()}
    return {name: entry["value"] for name, entry in measured.items() if entry["value"] is not None}


def _log(source: Source, point: OperatingPoint, run_id: str) -> str:
    """Log the source's model with another operating point; returns its URI."""
    settings, artifacts = source.settings, source.artifacts
    network = artifacts / versions.FILE_OF_DIGEST[versions.NETWORK_TAG]
    size = max(Network(network).image_size, settings.limits["min_image_side"])
    with tempfile.TemporaryDirectory(prefix="reference-") as folder:
        path = Path(folder) / export.REFERENCE_FILE
        rows = reference.read(artifacts / export.REFERENCE_FILE)
        files.write_parquet(reference.decided(rows, point), path)
        return export.log_served_model(
            run_id,
            network=network,
            operating_point=point,
            limits=settings.limits,
            is_synthetic=settings.is_synthetic,
            positive_means=settings.positive_means,
            example=export.example_image(size),
            crop=settings.crop,
            segmenter=source.optional(export.SEGMENTER_FILE),
            asked_and_got=files.as_json(asked_and_got.described(point.to_dict())),
            num_views=settings.num_views,
            unlike=source.optional(export.UNLIKE_FILE),
            keep_images=settings.keep_images,
            reference=path,
            trained_by=settings.run_id,
        )


def _card(result: Mapping[str, Any]) -> str:
    """Description of the version, Markdown."""
    synthetic = " The network was trained on SYNTHETIC images only." if result["is_synthetic"] else ""
    rows = [
        f"| {title} | {explained(result['before'][name])} | {explained(result['after'][name])} |"
        for name, title in SHOWN.items()
    ]
    not_judged = [gate["words"] for gate in result["gates"] if not gate["is_judged"]]
    head = (
        f"Version {result['recalibrated_from']} recalibrated for the clinic **{result['clinic']}**: the same "
        "network with calibration, threshold and referral band from this clinic's labels. "
        f"{NOT_A_DEVICE.capitalize()}.{synthetic} Positive means {result['positive_means']}."
    )
    labels = (
        f"{result['num_images']} images of {result['num_groups']} groups that the audit drew and a reader "
        f"labelled, {result['num_positive_groups']} groups positive; {result['num_unlabelled_groups']} drawn "
        "groups have no label. 95 % intervals over groups; after: cross-fitted."
    )
    gates = (
        f"Gain in log loss {explained(result['gain']['log_loss'])}. Gates were judged on these images alone. "
        f"Not judged: {'; '.join([*not_judged, *result['not_judged']])}."
    )
    table = ["| on these images | before | after |", "| --- | --- | --- |", *rows]
    return "\n".join([head, "", labels, "", *table, "", gates])
