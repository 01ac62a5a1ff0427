"""Brings a real dataset in: from its folder or zip, or from the ISIC Archive, to a raw folder under DVC."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from melanoma import config
from melanoma.data.sources import ham10000, isic, isic_challenge, ph2
from melanoma.data.sources.isic_api import Selection
from melanoma.data.sources.isic_archive import open_archive
from melanoma.data.sources.raw_folder import (
    RawDataset,
    add_to,
    put_under_dvc,
    require_apart,
    require_as_tracked,
    write_raw,
)
from melanoma.errors import DataError
from melanoma.stages.console import say

FOLDER_OPTIONS = ("metadata", "images", "masks")
ARCHIVE_OPTIONS = ("collections", "query", "limit", "licences")


def fetch(args: Namespace) -> None:
    """Write the raw folder and its .dvc file.

    Args:
        args: Dataset and where it comes from, by the options of `pipelines/fetch.py`.

    Raises:
        DataError: Options do not go together, or the source cannot be used. With `--partial` a download that
            lacks images is written and reported before.
    """
    if args.dataset == "isic":
        _require_one_source(args)
    out = args.out or Path("data/raw") / args.dataset
    for source in _sources(args):
        require_apart(source, out)
    if args.add and not args.no_dvc:
        require_as_tracked(out)  # before hours of downloads
    with _open_source(args, out) as opened:
        dataset = add_to(out, opened) if args.add else opened
        state = "written" if write_raw(dataset, out) else "unchanged"
        if not args.no_dvc:
            put_under_dvc(out)
        remarks = f" ({dataset.remarks})" if dataset.remarks else ""
        say(
            f"fetch {args.dataset}",
            f"{len(dataset.metadata)} images, {len(dataset.masks)} masks {state} in {out}{remarks}",
        )


def _sources(args: Namespace) -> Iterator[Path]:
    for name in ("source", "ground_truth", "metadata", "images", "masks"):
        given = getattr(args, name, None)
        yield from given if isinstance(given, list) else filter(None, [given])


def _open_source(args: Namespace, out: Path) -> AbstractContextManager[RawDataset]:
    if args.dataset == "ph2":
        return ph2.open_source(args.source, is_partial=args.partial)
    if args.dataset == "ham10000":
        return nullcontext(ham10000.open_source(args.metadata, args.images, is_partial=args.partial))
    if args.dataset == "isic_challenge":
        opened = isic_challenge.open_source(
            args.ground_truth, args.metadata, args.images, is_partial=args.partial
        )
        return nullcontext(opened)
    if args.metadata is not None:
        return nullcontext(isic.open_source(args.metadata, args.images, args.masks, is_partial=args.partial))
    selection = Selection(args.query or "", args.collections or (), args.licences or (), args.limit)
    settings = config.load(args.params).fetch
    return open_archive(selection, out, settings=settings, is_partial=args.partial)


def _require_one_source(args: Namespace) -> None:
    folders = [f"--{name}" for name in FOLDER_OPTIONS if getattr(args, name) is not None]
    archive = [f"--{name}" for name in ARCHIVE_OPTIONS if getattr(args, name) is not None]
    if folders and archive:
        raise DataError(
            f"{', '.join(folders)} (local folders) cannot be combined with {', '.join(archive)} (download). "
            "For both, run twice, the second time with --add."
        )
    if folders and (args.metadata is None or args.images is None):
        raise DataError("--metadata and --images belong together; give both.")
    if not folders and args.collections is None and args.query is None:
        raise DataError(
            "Nothing to fetch. Give --metadata and --images for local folders, or --collections or --query "
            "to download."
        )
