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
    """Write a raw folder."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="raw folder to write")
    args = parser.parse_args(argv)

    settings = config.load(args.params).sample
    with atomic_folder(args.out) as unfinished:
        metadata = sample.generate(
            unfinished,
            seed=settings.seed,
            num_lesions=settings.num_lesions,
            num_second_views=settings.num_second_views,
            malignant_fraction=settings.malignant_fraction,
            image_size=settings.image_size,
        )
    num_faults = int(metadata["planted_fault"].fillna("").ne("").sum())
    _cli.say(
        "sample",
        f"{len(metadata)} synthetic images of {metadata['lesion_id'].nunique()} invented lesions, "
        f"{num_faults} with a planted fault -> {args.out}",
    )
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
