"""Writes the data card of a dataset: counts, figures, and shortcuts to its label."""

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from melanoma import files
from melanoma.config.data import Card
from melanoma.data.checks import card
from melanoma.data.checks.facts import ROWS_AT_HAND
from melanoma.evaluation import data_figures, shortcuts
from melanoma.schema import positive_means


def write(args: Namespace, settings: Card, *, positive: Sequence[str]) -> str:
    """Write the page and its figures.

    Args:
        args: Dataset name and paths, by the options of `pipelines/card.py`.
        settings: Section `card` of params.yaml.
        positive: Positive classes.

    Returns:
        A sentence about the shortcuts that were found.
    """
    data = card.gather(
        args.dataset,
        records=files.read_parquet(args.records),
        facts=pd.concat(files.read_parquet_groups(args.facts, card.FACT_COLUMNS, size=ROWS_AT_HAND)),
        accepted=files.read_parquet(args.accepted),
        quarantined=files.read_csv(args.quarantine, dtype="string"),
        assigned=files.read_csv(args.assigned, dtype="string"),
    )
    found = shortcuts.find_shortcuts(data.open_images, **settings.model_dump())
    drawn = data_figures.draw_figures(
        data.images, found, dataset=args.dataset, is_synthetic=bool(data.num_synthetic)
    )
    with files.atomic_folder(args.figures) as folder:
        data_figures.save_figures(drawn, folder)
    link = Path(os.path.relpath(args.figures, args.out.parent)).as_posix()
    page = card.write_card(
        data,
        shortcuts=[shortcut.in_words() for shortcut in found],
        positive_means=positive_means(positive),
        figures={name: f"{link}/{name}.png" for name in drawn},
    )
    files.write_text(page, args.out)
    return f"{shortcuts.summary_line(found)} -> {args.out}"
