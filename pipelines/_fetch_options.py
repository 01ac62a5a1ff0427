"""The options of `fetch`, and which of them go together."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from melanoma.data.sources.isic_api import LICENCES
from melanoma.errors import DataError
from pipelines import _cli

FOLDER_FORM = ("metadata", "images", "masks")
ARCHIVE_FORM = ("collections", "query", "limit", "licences")


def parse(description: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        DataError: Options of isic that do not go together.
    """
    parser = _cli.parser(description)
    datasets = parser.add_subparsers(dest="dataset", required=True)
    _add_ph2(datasets.add_parser("ph2", help="the PH2 database"))
    _add_isic(datasets.add_parser("isic", help="images of the ISIC Archive, from folders or downloaded"))
    args = parser.parse_args(argv)
    if args.dataset == "isic":
        _require_one_form(args)
    return args


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--partial",
        action="store_true",
        help="write what is there although images are missing; a download then still ends with exit code 1",
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="keep the images that are in the raw folder and add the new ones; default: replace them",
    )
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
    folders = parser.add_argument_group("from folders")
    folders.add_argument("--metadata", type=Path, help="table with a header and one row an image")
    folders.add_argument("--images", type=Path, help="folder of <isic_id>.jpg")
    folders.add_argument(
        "--masks",
        type=Path,
        help="folder of <isic_id>_segmentation.png, or _mask, _lesion or nothing after the id",
    )
    archive = parser.add_argument_group(
        "from the archive",
        "Downloads public images that fit all of these and are not stated to be of another type than "
        "dermoscopic. An interrupted call goes on where it "
        "stopped when it is run again. Exit code 1 when an image is missing; nothing is then replaced "
        "without --partial.",
    )
    archive.add_argument("--collections", type=_collections, help="ids joined by commas, such as 65,66")
    archive.add_argument("--query", help="in the archive's search language, such as 'age_approx:[20 TO 40]'")
    archive.add_argument("--limit", type=_positive, help="take the first so many images")
    archive.add_argument("--licences", type=_licences, help=f"joined by commas; of {', '.join(LICENCES)}")


def _collections(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_positive(part) for part in text.split(",")))


def _positive(text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected whole numbers from 1, got {text!r}")
    return int(text)


def _licences(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if unknown := [name for name in names if name not in LICENCES]:
        raise argparse.ArgumentTypeError(f"the archive has {', '.join(LICENCES)}; got {', '.join(unknown)!r}")
    return names


def _require_one_form(args: argparse.Namespace) -> None:
    of_folders = [f"--{name}" for name in FOLDER_FORM if getattr(args, name) is not None]
    of_archive = [f"--{name}" for name in ARCHIVE_FORM if getattr(args, name) is not None]
    if of_folders and of_archive:
        raise DataError(
            f"{', '.join(of_folders)} read folders, {', '.join(of_archive)} select what to download: give "
            "one or the other. To have both, run twice, the second time with --add."
        )
    if of_folders and (args.metadata is None or args.images is None):
        raise DataError("--metadata and --images belong together; give both.")
    if not of_folders and args.collections is None and args.query is None:
        raise DataError(
            "What is to be fetched? Give --metadata and --images, or --collections or --query to download."
        )
