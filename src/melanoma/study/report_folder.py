"""The folder in which a stage of the study leaves its tables and figures, with their captions."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from melanoma import files

Captions = dict[str, dict[str, str]]
DOTS_PER_INCH = 90


def write(
    folder: Path,
    *,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Figure],
    captions: Captions,
    documents: Mapping[str, str] | None = None,
    dots_per_inch: int = DOTS_PER_INCH,
) -> None:
    """Replace the folder by one with these files, all at once.

    Args:
        folder: Folder to write.
        tables: Tables by file name, `*.csv`.
        figures: Figures by file name, `*.png`.
        captions: By file name, `caption` and `alt` (alternative text); written as `captions.json`.
        documents: Texts by file name, `*.md`.
        dots_per_inch: Resolution of the figures.
    """
    with files.atomic_folder(folder) as unfinished:
        for name, table in tables.items():
            files.write_csv(table, unfinished / name)
        for name, figure in figures.items():
            figure.savefig(unfinished / name, dpi=dots_per_inch)
        for name, text in (documents or {}).items():
            files.write_text(text, unfinished / name)
        files.write_json(captions, unfinished / "captions.json")
