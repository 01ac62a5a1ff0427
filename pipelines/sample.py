"""Stage `sample`: draw the synthetic default dataset, with a few planted faults.

Run by `dvc repro sample`. Reads params.yaml section `sample`. The images show no patient.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.data.sources import sample
from melanoma.files import atomic_folder
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the raw folder of the synthetic dataset."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="raw folder to write")
    args = parser.parse_args(argv)

    settings = config.load(args.params).sample
    with atomic_folder(args.out) as unfinished:
        metadata = sample.generate(unfinished, **settings.model_dump())
    num_faults = int(metadata["planted_fault"].fillna("").ne("").sum())
    _cli.say(
        "sample",
        f"{len(metadata)} synthetic images of {metadata['lesion_id'].nunique()} invented lesions, "
        f"{num_faults} with a planted fault -> {args.out}",
    )
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
