"""Stage `tune`: search hyperparameters around the baseline by scores on the hold-out.

Run by `dvc repro tune`; an interrupted search resumes. Reads params.yaml sections `tune`, `baseline`,
`model`, `augment`, `train` and `execution`.
"""

import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from melanoma import config
from melanoma.stages import tune
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the best hyperparameters, every trial and plots of the search."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON summary to write")
    parser.add_argument("--page", type=Path, required=True, help="HTML page with plots to write")
    args = parser.parse_args(argv)

    say = partial(_cli.say, f"tune@{args.cohort}")
    outputs = tune.Outputs(args.out, args.page)
    params = config.load(args.params)
    say(tune.run(args.cohort, params, packed_folder=args.packed, outputs=outputs, say=say))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: no trial is left running
    sys.exit(_cli.run(main))
