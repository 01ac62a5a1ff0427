"""Shared by all scripts: the parser, the report in one line, errors as messages with exit code 1."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from melanoma.errors import MelanomaError
from melanoma.stages.console import say
from melanoma.stages.ports import MAX_PORT

__all__ = ["parser", "run", "say"]

NOT_IN_NAMES = "/:'\"`"  # MLflow refuses the first two, the others would end a word in its queries
Main = Callable[[Sequence[str] | None], int]
HINT_OF_FAULT = {
    errno.ENOSPC: "Free some space on that disk",
    errno.EDQUOT: "Free some of your quota",
    errno.EACCES: "Get the permission, or use another path",
    errno.EPERM: "Get the permission, or use another path",
    errno.EROFS: "Use a path on a writable disk",
}


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--params`; the first line of `description` is its help."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameter file")
    return made


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the argument `model`."""
    parser.add_argument("model", type=_model_name, help="registered model, for instance melanoma-ph2")


def add_alias(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Add the option `--alias`: `staging`, `production` or `staging-<clinic>`."""
    words = f"staging, production or staging-<clinic>; default: {default or 'all'}"
    parser.add_argument("--alias", type=_alias, default=default, help=words)


def _alias(text: str) -> str:
    from melanoma.registry import versions  # with MLflow, which takes seconds

    if text != versions.PRODUCTION and not versions.is_staging(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {versions.PRODUCTION}, {versions.STAGING} and {versions.STAGING}-<clinic>"
        )
    return text


def utc_time(text: str) -> datetime:
    """Type of an option that is a day or a time; without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a date such as 2026-05-31, got {text!r}") from error
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def add_who_and_why(parser: argparse.ArgumentParser) -> None:
    """Add the required options `--by` and `--reason` of a move in the model registry."""
    parser.add_argument("--by", type=_not_blank, required=True, help="your name")
    parser.add_argument("--reason", type=_not_blank, required=True, help="reason for the move")


def _model_name(text: str) -> str:
    if not text.strip() or set(text) & set(NOT_IN_NAMES):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a valid name of a registered model; it must not contain any of {NOT_IN_NAMES}"
        )
    return text


def port(text: str) -> int:
    """Type of an option that is the number of a port."""
    if not text.isdecimal() or not 0 < int(text) <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; expected a number from 1 to {MAX_PORT}")
    return int(text)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be blank")
    return text.strip()


def run(main: Main, argv: Sequence[str] | None = None) -> int:
    """Run `main`; an error that a user can fix becomes a message without a traceback."""
    try:
        return main(argv)
    except MelanomaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output, such as `head`, has ended: drop further output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"error: {_describe(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return 130


def _describe(error: OSError) -> str:
    """The path if known, what the operating system refused, and how to fix it."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    path = error.filename2 if is_full and error.filename2 else error.filename  # of a copy, its target
    place = "" if path is None else f"{path}: "
    hint = HINT_OF_FAULT.get(error.errno or 0, "Check the path")
    return f"{place}{error.strerror or error}. {hint}, then run the same command again."
