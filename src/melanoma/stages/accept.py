"""Command `accept`: let the alias `staging` point to a version that the gates refused as not shown."""

import tempfile
from pathlib import Path

from melanoma import files, tracking
from melanoma.errors import TrackingError
from melanoma.evaluation import headline, model_card
from melanoma.registry import acceptance, ledger, moves, versions

CARD = "model_card.md"


def run(cohort: str, number: int | None, *, by: str, reason: str) -> str:
    """Move the alias `staging`, record who accepted the version and why, and add it to the card.

    Args:
        cohort: Name of the cohort.
        number: Version to accept; None takes the one that was judged last.
        by: Person who answers for it.
        reason: Reason in words.

    Returns:
        A report.

    Raises:
        TrackingError: There is no such version, it cannot be accepted (see `acceptance.find_refusal`), or its
            files or its card are gone or changed.
    """
    name = versions.model_name(cohort)
    with moves.exclusive(name), tempfile.TemporaryDirectory(prefix="accept-") as folder:
        version = _judged_last(name) if number is None else versions.get_version(name, number)
        number = int(version.version)
        refusal = acceptance.find_refusal(version, moves.holder_of(name, versions.STAGING))
        versions.require_untouched(version, Path(folder))
        card = tracking.download_run_file(version.tags["run_id"], CARD, Path(folder))
        previous = moves.move_alias(
            name,
            versions.STAGING,
            number,
            kind=ledger.ACCEPT,
            by=by,
            reason=reason,
            evidence={"refusal": refusal.run_id, "refused_because": refusal.tags["reason"]},
            tags=acceptance.anchor_tags(refusal),
        )
        _note(version, card)
    before = "nothing" if previous is None else f"version {previous}"
    return (
        f"{name}: staging is version {number} now, {before} before; refused because: "
        f"{refusal.tags['reason']}\n"
        "reports and page still say refused; renew them: `dvc repro --force --single-item "
        f"promote@{cohort}`, then `dvc repro page`"
    )


def _judged_last(name: str) -> versions.Version:
    version = versions.find_version(name, versions.CHALLENGER)
    if version is None:
        raise TrackingError(
            f"No version of {name} was judged, so there is nothing to accept. Run `dvc repro promote` first, "
            "or check the cohort."
        )
    return version


def _note(version: versions.Version, card: Path) -> None:
    """Add the acceptance to the version's tags, its description, and the card of its run."""
    number, run = int(version.version), tracking.resume_run(version.tags["run_id"])
    accepted = acceptance.read(version.name, number)
    if accepted is None:  # cannot be: the move is in the ledger
        raise TrackingError(f"The ledger lost the acceptance of {version.name} version {number}.")
    reasons = [version.tags.get("gate_reasons", "")]
    previous = version.tags.get(versions.PREVIOUS_TAG, "")
    versions.note_verdict(
        version, run, reasons, word=versions.ACCEPTED, previous=int(previous) if previous else None
    )
    text = model_card.with_line(card.read_text(encoding="utf-8"), headline.accepted_in_words(accepted))
    files.write_text(text, card)
    run.log_file(card)
    versions.describe(version.name, number, text)
