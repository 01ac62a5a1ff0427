"""Which images of other data sets a model refers as unlike its training images.

    python -m tests.benchmarks.bench_unlike --cohort isic --images data/raw/ph2/images

Reads the results of `dvc repro` for the cohort. The stage `audit` measures damaged copies and pictures that
are no dermoscopy. Prints a table and writes JSON to `--out`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from melanoma import files
from melanoma.data.images import load_square, read_bytes
from melanoma.errors import ImageError
from melanoma.evaluation import unlike_sets
from melanoma.scoring.unlike import Unlike
from melanoma.serving.network import Network


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of images")
    parser.add_argument("--num", type=int, default=500, help="maximum number of images of a folder")
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/unlike.json"))
    args = parser.parse_args()
    selected = files.read_json(Path("reports", args.cohort, "models.json"))["selected"]
    network = Network(Path("models", args.cohort, selected, "model.onnx"))
    unlike = Unlike.load(Path("reports", args.cohort, "unlike", f"{selected}.npz"))
    found = {
        str(folder): unlike_sets.referred(
            _load(folder, args.num, network.image_size), network.features, unlike
        )
        for folder in args.images
    }
    print(unlike_sets.table(found).to_string(index=False))
    files.write_json({"cohort": args.cohort, "model": selected, "folders": found}, args.out)
    return 0


def _load(folder: Path, num: int, size: int) -> np.ndarray:
    """At most `num` images, spread over the sorted names; files that do not decode are left out."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    squares = []
    for path in paths[:: max(1, -(-len(paths) // num))]:
        try:
            squares.append(load_square(read_bytes(path), size))
        except ImageError as error:
            print(f"{path}: {error}", file=sys.stderr)
    return np.stack(squares)


if __name__ == "__main__":
    sys.exit(main())
