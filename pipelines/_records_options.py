"""Options of the scripts that read records of served answers."""

import argparse
import os
from pathlib import Path

from melanoma.serving.records import RECORDS


def add_records(parser: argparse.ArgumentParser) -> None:
    """Add the option `--records`; required unless the environment names them."""
    place = os.environ.get(RECORDS)
    where = f"folder or s3://bucket/folder; default: {RECORDS} of the environment"
    parser.add_argument("--records", default=place, required=not place, help=where)


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add the option `--version`."""
    parser.add_argument("--version", type=int, help="version of the model; default: that of staging")


def add_labels(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add the option `--labels`."""
    words = "labelled CSV files of the label queue"
    parser.add_argument(
        "--labels", type=Path, nargs="+", action="extend", required=required, default=[], help=words
    )
