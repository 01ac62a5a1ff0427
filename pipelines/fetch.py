"""Bring a real dataset in: validate it, write data/raw/<dataset>/ atomically, put it under DVC.

Not a stage: run it once a dataset, for instance
  python -m pipelines.fetch ph2 --source ~/PH2Dataset.zip
  python -m pipelines.fetch isic --metadata metadata.csv --images images --masks masks
  python -m pipelines.fetch isic --collections 65,66 --licences CC-0,CC-BY
The same input twice changes nothing. What is fetched replaces what was there; with --add it is added.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from melanoma import config
from melanoma.data.sources import isic, ph2
from melanoma.data.sources.isic_api import Selection
from melanoma.data.sources.isic_archive import open_archive
from melanoma.data.sources.raw_folder import RawDataset, add_to, put_under_dvc, require_apart, write_raw
from pipelines import _cli, _fetch_options


def main(argv: Sequence[str] | None = None) -> int:
    """Write a raw folder and its .dvc file."""
    args = _fetch_options.parse(__doc__, argv)
    out = args.out or Path("data/raw") / args.dataset
    for source in ("source", "metadata", "images", "masks"):
        if getattr(args, source, None) is not None:
            require_apart(getattr(args, source), out)
    with _open_source(args, out) as source_dataset:
        dataset = add_to(out, source_dataset) if args.add else source_dataset
        state = "written" if write_raw(dataset, out) else "unchanged"
        if not args.no_dvc:
            put_under_dvc(out)
        _cli.say(
            f"fetch {args.dataset}",
            f"{len(dataset.metadata)} images, {len(dataset.masks)} masks {state} in {out}"
            + (f" ({dataset.remarks})" if dataset.remarks else ""),
        )
    return 0


def _open_source(args: argparse.Namespace, out: Path) -> AbstractContextManager[RawDataset]:
    if args.dataset == "ph2":
        return ph2.open_source(args.source, is_partial=args.partial)
    if args.metadata is not None:
        return nullcontext(isic.open_source(args.metadata, args.images, args.masks, is_partial=args.partial))
    selection = Selection(args.query or "", args.collections or (), args.licences or (), args.limit)
    settings = config.load(args.params).fetch
    return open_archive(selection, out, settings=settings, is_partial=args.partial)


if __name__ == "__main__":
    sys.exit(_cli.run(main))
