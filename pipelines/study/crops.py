"""Stage `crops`: compare networks on whole images with networks on crops to the lesion.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:crops`; interrupted runs resume. Reads sections
`study.crops`, `cohorts`, `pack`, `segment`, `baseline`, `backbone`, `model`, `augment`, `train` and
`execution` of params.yaml.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.study.stages import crops
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the comparison, its tables and figure, and every prediction."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--split", type=Path, required=True, help="CSV file of the cohort's splits")
    parser.add_argument("--accepted", type=Path, required=True, help="folder of accepted records")
    parser.add_argument("--boxes", type=Path, required=True, help="table of lesion boxes (stage segment)")
    parser.add_argument("--segmentation", type=Path, required=True, help="JSON report of the stage segment")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of results to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder of tables and figures to write")
    parser.add_argument("--predictions", type=Path, required=True, help="table of predictions to write")
    args = parser.parse_args(argv)

    results = crops.run(
        args.cohort,
        config.load(args.params),
        crops.Inputs(args.split, args.accepted, args.boxes, args.segmentation),
        figures=args.figures,
        results_path=args.out,
        predictions_path=args.predictions,
    )
    _cli.say(f"crops@{args.cohort}", "; ".join(results["in_words"]) or "nothing to compare")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
