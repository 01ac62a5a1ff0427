"""Stage `card`: describe one dataset on a page with figures, and look for shortcuts to its label.

Run by `dvc repro card`. Reads params.yaml section `card`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from melanoma import config, files
from melanoma.data.checks import card
from melanoma.data.checks.facts import ROWS_AT_HAND
from melanoma.evaluation import data_figures, shortcuts
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the data card of a dataset and its figures."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True)
    parser.add_argument("--quarantine", type=Path, required=True)
    parser.add_argument("--assigned", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="Markdown page to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder of its figures to write")
    args = parser.parse_args(argv)

    settings = config.load(args.params).card
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
        figures={name: f"{link}/{name}.png" for name in drawn},
    )
    with files.atomic_file(args.out) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    _cli.say(f"card@{args.dataset}", f"{shortcuts.headline(found)} -> {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
