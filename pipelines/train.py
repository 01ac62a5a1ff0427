"""Stage `train`: train the baseline and the tuned network on several seeds, and keep one of each.

Run by `dvc repro train`; an interrupted training resumes. Reads params.yaml sections `train`, `baseline`,
`model` and `augment`. The networks of the first seed are kept.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import train
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write both models, their histories, the ids of their runs and the comparison over seeds."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--tuning", type=Path, required=True, help="summary of the search")
    parser.add_argument("--baseline", type=Path, required=True, help="model folder to write")
    parser.add_argument("--tuned", type=Path, required=True, help="model folder to write")
    parser.add_argument("--runs", type=Path, required=True, help="JSON file of run ids to write")
    parser.add_argument("--seeds", type=Path, required=True, help="JSON of the comparison to write")
    parser.add_argument("--curves", type=Path, required=True, help="folder of figures to write")
    parser.add_argument("--plots", type=Path, required=True, help="folder of tables that DVC draws")
    args = parser.parse_args(argv)

    summary_line = train.run(
        args.cohort,
        config.load(args.params),
        inputs=train.Inputs(args.packed, args.tuning),
        outputs=train.Outputs(args.baseline, args.tuned, args.runs, args.seeds, args.curves, args.plots),
    )
    _cli.say(f"train@{args.cohort}", summary_line)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
