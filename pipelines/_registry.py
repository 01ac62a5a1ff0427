"""What the scripts that move aliases share: who, why, and what a version must be."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from melanoma.errors import TrackingError
from melanoma.registry import versions


def add_who_and_why(parser: argparse.ArgumentParser) -> None:
    """Arguments `--by` and `--reason`, both needed and not blank."""
    parser.add_argument("model", help="registered model, for instance melanoma-ph2")
    parser.add_argument("--by", type=_not_blank, required=True, help="who answers for it")
    parser.add_argument("--reason", type=_not_blank, required=True, help="why, in words")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be blank")
    return text.strip()


def require_releasable(version: versions.Version) -> dict[str, Any]:
    """What speaks for a version: it has passed the gates and its files are those that passed.

    Raises:
        TrackingError: It has not, or they are not.
    """
    verdict = version.tags.get("gate")
    if verdict != "passed":
        said = {
            None: "was never judged; run `dvc repro promote`",
            "refused": f"was refused by the gates: {version.tags.get('gate_reasons', '')}",
        }.get(verdict, f"has the verdict {verdict!r}")
        raise TrackingError(
            f"{version.name} version {version.version} {said}. Only a version that passed may be released."
        )
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        versions.require_untouched(version, Path(folder))
    return {"version_tags": dict(version.tags), "run_id": version.tags.get("run_id")}
