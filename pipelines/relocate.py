"""Update the artifact paths in the tracking store after the project was moved or copied.

Run as `python -m pipelines.relocate [--dry-run | --check]`. The paths in the SQLite file are changed in one
transaction; a backup of the file is kept next to it. A second call changes nothing.
"""

import argparse
import sys
from collections.abc import Sequence

from melanoma import project, store_home
from melanoma.errors import TrackingError
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Change the paths, or say which would change."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="only print what would change")
    how.add_argument(
        "--check", action="store_true", help="fail if the store was moved; print nothing otherwise"
    )
    args = parser.parse_args(argv)

    uri = project.tracking_uri()
    file = project.file_of(uri)
    if args.check:
        if file is not None:
            store_home.require_at_home(file)
        return 0
    if file is None or not file.is_file():
        raise TrackingError(f"{uri} is not a SQLite file, so there is nothing to relocate.")
    _report(store_home.relocate(file, is_dry_run=args.dry_run), args.dry_run)
    return 0


def _report(done: store_home.Relocation, is_dry_run: bool) -> None:
    if not done.old:
        _cli.say("relocate", "the artifact paths are correct; nothing to change")
        return
    for column, num in done.num_changed.items():
        if num:
            _cli.say("relocate", f"{column}: {num} paths")
    if done.num_lost:
        _cli.say("relocate", f"warning: {done.num_lost} models are in neither the old nor the new folder")
    verb = "would change from" if is_dry_run else "changed from"
    backup = "" if done.backup is None else f"; backup of the store: {done.backup}"
    _cli.say("relocate", f"{verb} {', '.join(map(str, done.old))}{backup}")


if __name__ == "__main__":
    sys.exit(_cli.run(main))
