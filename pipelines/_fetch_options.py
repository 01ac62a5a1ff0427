"""The options of `fetch`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from melanoma.data.sources.isic_api import LICENCES
from pipelines import _cli

ARCHIVE_HELP = (
    "Download public dermoscopic images that match all of these options; images whose type is not stated "
    "are included. To resume an interrupted download, run the same command again. If an image is missing, "
    "the exit code is 1 and, without --partial, nothing is written."
)


def parse(description: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed options; those of the other dataset are absent."""
    parser = _cli.parser(description)
    datasets = parser.add_subparsers(dest="dataset", required=True)
    ph2 = datasets.add_parser("ph2", help="the PH2 database")
    isic = datasets.add_parser("isic", help="images of the ISIC Archive, from folders or downloaded")
    ham10000 = datasets.add_parser("ham10000", help="the HAM10000 dataset")
    challenge = datasets.add_parser("isic_challenge", help="an ISIC challenge of 2018, 2019 or 2020")
    clinic = datasets.add_parser("clinic", help="labelled images of served answers, from the label queue")
    for each in (ph2, isic, ham10000, challenge, clinic):
        each.add_argument(
            "--partial", action="store_true", help="write the dataset even if images are missing"
        )
        each.add_argument("--add", action="store_true", help="add to the existing images of the raw folder")
        each.add_argument("--out", type=Path, help="raw folder; default data/raw/<dataset>")
        each.add_argument("--no-dvc", action="store_true", help="do not run `dvc add` on the folder")
    ph2.add_argument(
        "--source",
        type=Path,
        required=True,
        help="official PH2 folder, folder with images/, or a zip file of either",
    )
    ham10000.add_argument("--metadata", type=Path, required=True, help="HAM10000_metadata, .csv or .tab")
    challenge.add_argument(
        "--ground-truth", type=Path, required=True, help="one-hot table of 2018 or 2019, or train.csv of 2020"
    )
    challenge.add_argument("--metadata", type=Path, help="second table of 2018 or 2019")
    for each in (ham10000, challenge):
        each.add_argument(
            "--images",
            type=Path,
            nargs="+",
            action="extend",
            required=True,
            help="folders of <image_id>.jpg",
        )
    for folders in (isic.add_argument_group("from folders"), clinic):
        needed = folders is clinic
        folders.add_argument(
            "--metadata", type=Path, required=needed, help="CSV with a header and one row per image"
        )
        folders.add_argument("--images", type=Path, required=needed, help="folder of <isic_id>.jpg")
        folders.add_argument("--masks", type=Path, help="folder of <isic_id>_segmentation.png or _mask.png")
    archive = isic.add_argument_group("from the archive", ARCHIVE_HELP)
    archive.add_argument("--collections", type=_collections, help="comma-separated ids, such as 65,66")
    archive.add_argument(
        "--query", help="query in the archive's search language, such as 'age_approx:[20 TO 40]'"
    )
    archive.add_argument("--limit", type=_positive, help="maximum number of images")
    archive.add_argument(
        "--licences", type=_licences, help=f"comma-separated licences: {', '.join(LICENCES)}"
    )
    return parser.parse_args(argv)


def _collections(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_positive(part) for part in text.split(",")))


def _positive(text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected comma-separated whole numbers from 1, got {text!r}")
    return int(text)


def _licences(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if unknown := [name for name in names if name not in LICENCES]:
        raise argparse.ArgumentTypeError(
            f"expected licences from {', '.join(LICENCES)}; got {', '.join(unknown)!r}"
        )
    return names
