"""Compare local raw data with the published manifests: which files are changed, missing or extra.

Run by `make data-check`. Exit code 1 unless all datasets that the published results used are here and equal.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma.errors import DataError
from melanoma.stages import data_check
from pipelines import _cli

HINT = "not here. Import it first; `python -m pipelines.fetch {} --help` says how"


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line for each dataset."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="folder of the datasets")
    parser.add_argument(
        "--manifests", type=Path, default=Path("reports/published/raw"), help="folder of the manifests"
    )
    parser.add_argument("--dataset", help="check this dataset only")
    args = parser.parse_args(argv)

    found = {path.stem: path for path in sorted(args.manifests.glob("*.csv"))}
    if not found or args.dataset not in {None, *found}:
        raise DataError(
            f"{args.manifests} has manifests of {sorted(found)}, none of {args.dataset or 'any'}."
        )
    is_equal = True
    for name in [args.dataset] if args.dataset else found:
        difference = data_check.compare(args.raw / name, found[name])
        is_equal &= difference.is_equal
        is_here = (args.raw / name).is_dir()
        _cli.say("data_check", f"{name}: {difference if is_here else HINT.format(name)}")
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(_cli.run(main))
