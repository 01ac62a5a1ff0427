"""Command `release`: let the alias `production` point to a version that passed all gates."""

import tempfile
from pathlib import Path

from melanoma.errors import TrackingError
from melanoma.registry import ledger, moves, versions


def run(name: str, number: int, *, by: str, reason: str) -> str:
    """Move the alias `production` and record the move; return a report.

    Args:
        name: Name of the registered model.
        number: Version to release.
        by: Person who answers for the release.
        reason: Reason in words.

    Raises:
        TrackingError: The version has not passed the gates and nobody accepted it, or its files are not
            those that were registered.
    """
    with moves.exclusive(name):
        version = versions.get_version(name, number)
        _require_releasable(version)
        previous = moves.move_alias(
            name,
            versions.PRODUCTION,
            number,
            kind=ledger.RELEASE,
            by=by,
            reason=reason,
            evidence={"version_tags": dict(version.tags), "run_id": version.tags.get("run_id")},
        )
    if previous == number:
        return f"{name} version {number} already has the alias production"
    before = "nothing" if previous is None else f"version {previous}"
    return f"{name}: production is version {number} now, {before} before"


def _require_releasable(version: versions.Version) -> None:
    verdict, clinic = version.tags.get(versions.GATE_TAG), version.tags.get(versions.CLINIC_TAG)
    if clinic is not None:
        raise TrackingError(
            f"{version.name} version {version.version} was recalibrated for the clinic {clinic} and judged "
            f"on its images alone, so it cannot be released for all. It is served as "
            f"models:/{version.name}@{versions.staging_of(clinic)}."
        )
    if verdict not in (versions.PASSED, versions.ACCEPTED):
        problem = {
            None: "was not judged by the gates; run `dvc repro promote`",
            versions.REFUSED: f"was refused by the gates: {version.tags.get('gate_reasons', '')}",
        }.get(verdict, f"has the verdict {verdict!r}")
        raise TrackingError(
            f"{version.name} version {version.version} {problem}. Only a version that passed the gates, "
            "or that a person accepted (`python -m pipelines.accept`), can be released."
        )
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        versions.require_untouched(version, Path(folder))
