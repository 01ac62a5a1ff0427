"""What all scripts share: the parser, one line of report, errors as messages with exit code 1."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from melanoma.errors import MelanomaError

Main = Callable[[Sequence[str] | None], int]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--params`; the first line of `description` is its help."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameter file")
    return made


def say(stage: str, text: str) -> None:
    """One clear line of what a stage did."""
    print(f"[{stage}] {text}", flush=True)


def run(main: Main, argv: Sequence[str] | None = None) -> int:
    """Run `main`; an error that a user can mend becomes a message without a trace."""
    try:
        return main(argv)
    except MelanomaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
