"""Stage `card`: write the data card of a dataset: tables, figures and shortcuts to the label.

Run by `dvc repro card`. Reads params.yaml section `card`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import card
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
    parser.add_argument("--figures", type=Path, required=True, help="folder of figures to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    said = card.write(args, params.card, positive=params.target.positive)
    _cli.say(f"card@{args.dataset}", said)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
