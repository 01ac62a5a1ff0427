"""Stage `segment`: find the lesion in each image of a cohort by masks and, optionally, by a U-Net.

Run by `dvc repro segment`; an interrupted training resumes. Reads params.yaml sections `segment`, `augment`,
`cohorts` and `execution`, and `pack.crop`: where nothing is cropped and no U-Net is trained, no image is
read. The U-Net learns from the training split; validation chooses its epoch, and the test set measures it.
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
    parser.add_argument("--accepted", type=Path, required=True, help="folder with one table per dataset")
    parser.add_argument("--boxes", type=Path, required=True, help="table to write")
    parser.add_argument("--segmenter", type=Path, required=True, help="model folder to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON to write")
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
