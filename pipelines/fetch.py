"""Import a real dataset: check it, write data/raw/<dataset>/ atomically, add it to DVC.

Not a stage: run it once per dataset, for instance
  python -m pipelines.fetch ph2 --source ~/PH2Dataset.zip
  python -m pipelines.fetch ham10000 --metadata HAM10000_metadata.csv --images part_1 part_2
  python -m pipelines.fetch isic --metadata metadata.csv --images images --masks masks
  python -m pipelines.fetch isic --collections 65,66 --licences CC-0,CC-BY
  python -m pipelines.fetch clinic --metadata labelled/metadata.csv --images labelled/images --add
Importing the same input again changes nothing. By default the new dataset replaces the old one; with --add it
is added to it.
"""

import sys
from collections.abc import Sequence

from melanoma.stages import fetch
from pipelines import _cli, _fetch_options


def main(argv: Sequence[str] | None = None) -> int:
    """Write a raw folder and its .dvc file."""
    fetch.fetch(_fetch_options.parse(__doc__, argv))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
