"""Stage `segment`: locate the lesion in each image of a cohort by its mask and, optionally, by a U-Net.

Run by `dvc repro segment`; an interrupted training resumes. Reads params.yaml sections `segment`, `augment`,
`cohorts` and `execution`, and `pack.crop`. Images are only read if
they are cropped or a U-Net is trained. The U-Net is fitted on the training split; its epoch is selected on
validation, and it is measured on the test set.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import segment
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write boxes, report and, where it is trained, the U-Net."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument(
        "--accepted", type=Path, required=True, help="folder of accepted records, one table per dataset"
    )
    parser.add_argument("--boxes", type=Path, required=True, help="table of boxes to write")
    parser.add_argument("--segmenter", type=Path, required=True, help="model folder of the U-Net to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON report to write")
    args = parser.parse_args(argv)

    summary_line = segment.run(
        args.cohort,
        config.load(args.params),
        split=args.split,
        accepted=args.accepted,
        outputs=segment.Outputs(args.boxes, args.segmenter, args.report),
    )
    _cli.say(f"segment@{args.cohort}", summary_line)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
