"""Run the loop after serving on synthetic lesions: run by `make watch` as `python -m pipelines._watch`.

Serves the staging model of the demo, posts three months, monitors, labels, recalibrates, proposes, and judges
a challenger in shadow, all in a copy of the project.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma.stages import watch
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the loop and say where to look."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("watch"), help="folder of the copy; it is replaced")
    args = parser.parse_args(argv)

    _cli.say("watch", watch.run(args.out))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
