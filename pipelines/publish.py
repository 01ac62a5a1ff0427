"""Publish the current results: copy them to `reports/published/` and redraw its page and all tables.

Run by `make publish`. Refuses uncommitted changes, stale stages, runs with uncommitted changes, and results
of other code or parameters than those that were published before.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.stages import publish, published
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the published results, or draw page and tables from them again."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("reports/published"), help="folder to write")
    parser.add_argument(
        "--cohort",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="publish these active cohorts only, or the study (study); others stay (default: all)",
    )
    parser.add_argument("--replace", action="store_true", help="remove everything that was published before")
    parser.add_argument(
        "--redraw", action="store_true", help="only redraw page and tables from the published files"
    )
    args = parser.parse_args(argv)

    params = config.load(args.params)
    if args.redraw:
        files.write_text(published.draw(args.folder, params), args.folder / published.PAGE)
        changed = published.fill_documents(args.folder)
    else:
        changed = publish.publish(params, folder=args.folder, parts=args.cohort, is_replaced=args.replace)
    size = sum(path.stat().st_size for path in args.folder.rglob("*") if path.is_file()) / 1e6
    names = ", ".join(path.name for path in changed) or "none"
    _cli.say("publish", f"{size:.1f} MB -> {args.folder}; documents that changed: {names}")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
