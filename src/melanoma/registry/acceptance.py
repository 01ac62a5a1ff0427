"""Acceptance: a person lets a refused version take `staging` if the gates refused only what was not shown.

A person may accept that a comparison with another model could not be shown: that the version is better than a
reference, or not worse than champion and anchor. Findings about the version itself (chance, sensitivity,
calibration, slices, too few groups to measure anything, crops, undefined scores) cannot be accepted, nor a
comparison that shows the opposite.
"""

from collections.abc import Mapping
from typing import Any

from melanoma.errors import TrackingError
from melanoma.registry import anchors, ledger
from melanoma.registry.versions import ACCEPTED, GATE_TAG, PASSED, PREVIOUS_TAG, REFUSED, STAGING, Version

MAY_TAG, FINAL_TAG = "may_be_accepted", "final_reasons"


def tags(verdict: Mapping[str, Any]) -> dict[str, object]:
    """Tags of a refusal: whether a person may accept it, and the reasons that rule it out.

    Args:
        verdict: Result of `gate.judge`.
    """
    final = [
        gate["words"]
        for gate in verdict["gates"]
        if gate["is_judged"] and not (gate["is_passed"] or gate["is_acceptable"])
    ]
    return {MAY_TAG: "no" if final else "yes", FINAL_TAG: "; ".join(final)}


def read(name: str, number: int) -> dict[str, str] | None:
    """Who accepted a version last, why and when: `by`, `reason`, `at`; None if nobody did."""
    found = [entry for entry in ledger.moves(name, STAGING) if entry.kind == ledger.ACCEPT]
    mine = [entry for entry in found if entry.version == number]
    if not mine:
        return None
    last = mine[-1]
    return {"by": last.tags["by"], "reason": last.tags["reason"], "at": f"{last.at:%Y-%m-%d %H:%M} UTC"}


def word(verdict: Mapping[str, Any], accepted: Mapping[str, str] | None, *, is_holder: bool) -> str:
    """The verdict on a version that is judged again: an acceptance holds as long as it would be allowed.

    Args:
        verdict: Result of `gate.judge`.
        accepted: Result of `read`.
        is_holder: Whether the version has `staging` already. It was then compared with no other version, so
            what a person accepted is still not shown.
    """
    if accepted and (verdict["is_acceptable"] or (is_holder and verdict["is_passed"])):
        return ACCEPTED
    return PASSED if verdict["is_passed"] else REFUSED


def find_refusal(version: Version, holder: int | None) -> ledger.Entry:
    """The refusal of a version that a person may accept now.

    Args:
        version: The version.
        holder: Number of the version that holds `staging`; None if none does.

    Raises:
        TrackingError: The version holds the alias, was not judged or not refused, was refused for a reason
            that nobody can accept, or was compared with another champion than the present one.
    """
    name, number, verdict = version.name, int(version.version), version.tags.get(GATE_TAG)
    refusals = [
        entry
        for entry in ledger.entries(name)
        if entry.kind == ledger.REFUSAL and entry.version == number and entry.alias == STAGING
    ]
    problem = ""
    if holder == number:
        problem = "already has the alias staging"
    elif verdict == PASSED:
        problem = "passed the gates, so there is nothing to accept; run `dvc repro promote`"
    elif verdict is None or not refusals:
        problem = "was not judged by the gates; run `dvc repro promote`"
    elif MAY_TAG not in refusals[-1].tags:
        problem = "was refused by an earlier version of the code; run `dvc repro --force promote`"
    elif refusals[-1].tags[MAY_TAG] != "yes":
        problem = (
            f"was refused for reasons that cannot be accepted: {refusals[-1].tags[FINAL_TAG]}. A person may "
            "only accept that a comparison with another model could not be shown"
        )
    elif version.tags.get(PREVIOUS_TAG, "") != ("" if holder is None else str(holder)):
        compared = version.tags.get(PREVIOUS_TAG) or "none"
        problem = (
            f"was compared with version {compared}, but the alias staging points to version {holder} now; "
            "run `dvc repro --force promote`"
        )
    if problem:
        raise TrackingError(f"{name} version {number} {problem}. Nothing was moved.")
    return refusals[-1]


def anchor_tags(refusal: ledger.Entry) -> dict[str, object]:
    """Tags of the anchor after an acceptance: it stays, or is the accepted version if there was none."""
    return {tag: refusal.tags[tag] for tag in (anchors.VERSION_TAG, anchors.TERMS_TAG, anchors.SINCE_TAG)}
