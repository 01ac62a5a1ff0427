"""Bring a real dataset in: validate it, write data/raw/<dataset>/ atomically, put it under DVC.

Not a stage: run it once a dataset, for instance
  python -m pipelines.fetch ph2 --source ~/PH2Dataset.zip
  python -m pipelines.fetch isic --metadata metadata.csv --images images --masks masks
The same input twice changes nothing.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from melanoma.data import isic, ph2
from melanoma.data.raw import RawDataset, require_apart, write_raw
from melanoma.errors import DataError
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write a raw folder and its .dvc file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    datasets = parser.add_subparsers(dest="dataset", required=True)
    _add_ph2(datasets.add_parser("ph2", help="the PH2 database"))
    _add_isic(datasets.add_parser("isic", help="images of the ISIC Archive"))
    args = parser.parse_args(argv)

    out = args.out or Path("data/raw") / args.dataset
    for source in ("source", "metadata", "images", "masks"):
        if getattr(args, source, None) is not None:
            require_apart(getattr(args, source), out)
    with _open_source(args) as dataset:
        is_new = write_raw(dataset, out)
    state = "written" if is_new else "unchanged"
    if not args.no_dvc:
        _put_under_dvc(out)
    _cli.say(
        f"fetch {args.dataset}",
        f"{len(dataset.metadata)} images, {len(dataset.masks)} masks {state} in {out}",
    )
    return 0


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--partial", action="store_true", help="leave out rows that have no image")
    parser.add_argument("--out", type=Path, help="raw folder; default data/raw/<dataset>")
    parser.add_argument("--no-dvc", action="store_true", help="do not put the folder under DVC")


def _add_ph2(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument(
        "--source",
        type=Path,
        required=True,
        help="official PH2Dataset folder, a folder with images/ and PH2_dataset.txt, or a zip of one",
    )


def _add_isic(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument("--metadata", type=Path, required=True, help="CSV with a row an image")
    parser.add_argument("--images", type=Path, required=True, help="folder of <isic_id>.jpg")
    parser.add_argument("--masks", type=Path, help="folder of <isic_id>_segmentation.png")


def _open_source(args: argparse.Namespace) -> AbstractContextManager[RawDataset]:
    if args.dataset == "ph2":
        return ph2.open_source(args.source, is_partial=args.partial)
    return nullcontext(isic.open_source(args.metadata, args.images, args.masks, is_partial=args.partial))


def _put_under_dvc(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DataError(
            f"{folder} is written, but `dvc add {folder}` failed: {(done.stderr + done.stdout).strip()}\n"
            "Run from the top of the repository, or with --no-dvc outside of one."
        )


if __name__ == "__main__":
    sys.exit(_cli.run(main))
