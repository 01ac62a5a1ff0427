"""What the scripts that move aliases share: who, why, and what a version must be."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from melanoma.errors import TrackingError
from melanoma.registry import versions

NOT_IN_NAMES = "/:'\"`"  # MLflow refuses the first two, the others would end a word in its queries


def add_who_and_why(parser: argparse.ArgumentParser) -> None:
    """The model, and arguments `--by` and `--reason`, both needed and not blank."""
    add_model(parser)
    parser.add_argument("--by", type=_not_blank, required=True, help="who answers for it")
    parser.add_argument("--reason", type=_not_blank, required=True, help="why, in words")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Argument `model`."""
    parser.add_argument("model", type=_name, help="registered model, for instance melanoma-ph2")


def _name(text: str) -> str:
    if not text.strip() or set(text) & set(NOT_IN_NAMES):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a registered model; none of {NOT_IN_NAMES} may be in it"
        )
    return text


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
