"""The search for near duplicates: time, memory and recall, and how they grow with the number of images.

Run by `make bench-data`. The first part is the whole of `find_duplicates` on the real images (or drawn
ones where those are not there); the others seek synthetic hashes, each size in a process of its own, with
neighbours planted for 1 % of them. Writes nothing but a temporary file. Ends with exit
code 1 when any search misses a planted neighbour.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from melanoma import config
from melanoma.data.groups import duplicates, hamming
from tests.data.inspecting import inspect_images
from tests.data.pictures import encode, textured

ROOT = Path(__file__).resolve().parents[2]
NUM_ORIENTATIONS = 8
MAX_DISTANCE = 6
PLANTED_FRACTION = 0.01
SIZES = (3_000, 30_000, 100_000, 500_000)
BRUTE_FORCE_SIZES = (3_000, 30_000)
KINDS = {
    "uniform": "all 64 bits are fair coins",
    "crowded": "each quarter of a hash comes from another real image, 5 % of bits flipped",
}


def main() -> int:
    """Print one line a measurement; 1 when a recall is below 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs=4, metavar=("WAY", "KIND", "SIZE", "HASHES"), help="one, as JSON")
    args = parser.parse_args()
    if args.measure:
        way, kind, size, hashes = args.measure
        print(json.dumps(_measure(way, kind, int(size), Path(hashes))))
        return 0
    misses: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        hashes = Path(folder) / "hashes.npy"
        _find_in_pictures(Path(folder), hashes)
        for kind, meaning in KINDS.items():
            print(f"\n{kind} hashes: {meaning}")
            misses += _compare(kind, hashes)
    for miss in misses:
        print(f"{miss}, expected 1", file=sys.stderr)
    return 1 if misses else 0


def _find_in_pictures(folder: Path, hashes: Path) -> None:
    """`find_duplicates` on real pictures, whose hashes are kept for the synthetic ones."""
    params = config.load(ROOT / "params.yaml")
    data = (ROOT / os.environ.get("MELANOMA_REAL_DATA", "../shared/data")).resolve()
    paths = sorted(path for name in ("isic", "ph2") for path in (data / name / "images").glob("*.jpg"))
    what = "real"
    if not paths:
        what, paths = "drawn", [folder / f"{seed}.jpg" for seed in range(500)]
        for seed, path in enumerate(paths):
            path.write_bytes(encode(textured(seed), "JPEG"))
    records = pd.DataFrame({"image_id": [path.stem for path in paths], "path": paths, "mask_path": None})
    measured = inspect_images(
        records, root=Path("/"), settings=params.inspect, execution=params.execution, description="inspect"
    )
    start = time.perf_counter()
    pairs = duplicates.find_duplicates(measured, **params.duplicates.model_dump())
    seconds = time.perf_counter() - start
    print(f"find_duplicates on {len(paths)} {what} pictures: {seconds:.2f} s, {len(pairs)} pairs")
    np.save(hashes, np.array(measured.loc[measured["decodes"], "phashes"].tolist(), np.int64))


def _compare(kind: str, hashes: Path) -> list[str]:
    """A phrase for each search whose recall is below 1."""
    misses = []
    print(f"{'way':14}{'hashes':>9}{'seconds':>10}{'exponent':>10}{'peak MiB':>10}{'recall':>8}{'pairs':>8}")
    for way, sizes in (("multi-index", SIZES), ("brute force", BRUTE_FORCE_SIZES)):
        before: tuple[int, float] | None = None
        for size in sizes:
            found = _in_own_process(way, kind, size, hashes)
            exponent = "" if before is None else f"{_exponent(before, (size, found['seconds'])):.2f}"
            print(
                f"{way:14}{size:>9,}{found['seconds']:>10.2f}{exponent:>10}{found['peak_mib']:>10.0f}"
                f"{found['recall']:>8.3f}{found['num_pairs']:>8}",
                flush=True,
            )
            before = size, found["seconds"]
            if found["recall"] < 1:
                misses.append(f"{way} in {size:,} {kind} hashes: recall {found['recall']:.6f}")
    return misses


def _exponent(before: tuple[int, float], now: tuple[int, float]) -> float:
    """Time grows as the number of hashes to this power."""
    return math.log(now[1] / before[1]) / math.log(now[0] / before[0])


def _in_own_process(way: str, kind: str, size: int, hashes: Path) -> dict[str, float]:
    """Memory that one measurement took cannot be seen in the peak of another."""
    measure = ("-m", "tests.benchmarks.bench_duplicates", "--measure", way, kind, str(size), str(hashes))
    done = subprocess.run([sys.executable, *measure], cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _measure(way: str, kind: str, size: int, hashes: Path) -> dict[str, float]:
    generator = np.random.default_rng(size)
    made = _uniform(generator, size) if kind == "uniform" else _crowded(generator, size, np.load(hashes))
    planted = _plant(generator, made)
    search = hamming.neighbours if way == "multi-index" else _brute_force
    start = time.perf_counter()
    pairs = search(made, MAX_DISTANCE)
    seconds = time.perf_counter() - start
    found = np.isin(planted @ [size, 1], pairs @ [size, 1])
    return {
        "seconds": seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "recall": float(found.mean()),
        "num_pairs": len(pairs),
    }


def _uniform(generator: np.random.Generator, size: int) -> np.ndarray:
    return generator.integers(0, 2**64, size=(size, NUM_ORIENTATIONS), dtype=np.uint64)


def _crowded(generator: np.random.Generator, size: int, real: np.ndarray) -> np.ndarray:
    """As crowded as real hashes, but without their thousands of close pairs."""
    quarters = real.view(np.uint16).reshape(len(real), NUM_ORIENTATIONS, 4)
    made = np.empty((size, NUM_ORIENTATIONS, 4), np.uint16)
    for quarter in range(4):
        made[:, :, quarter] = quarters[generator.integers(0, len(real), size), :, quarter]
    hashes = made.view(np.uint64)[..., 0]
    for bit in range(64):
        flips = generator.random((size, NUM_ORIENTATIONS), dtype=np.float32) < 0.05
        hashes ^= flips.astype(np.uint64) << np.uint64(bit)
    return hashes


def _plant(generator: np.random.Generator, hashes: np.ndarray) -> np.ndarray:
    """Give 1 % of rows a neighbour 0 to 6 bits away in some orientation; the pairs, lower row first."""
    num_pairs = int(PLANTED_FRACTION * len(hashes))
    rows = generator.permutation(len(hashes))[: 2 * num_pairs].reshape(num_pairs, 2)
    for number, (row, other) in enumerate(rows):
        bits = generator.permutation(64)[: number % (MAX_DISTANCE + 1)].astype(np.uint64)
        mask = np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))
        hashes[other, number % NUM_ORIENTATIONS] = hashes[row, 0] ^ mask
    return np.sort(rows, axis=1)


def _brute_force(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """Each hash with each, in blocks of rows."""
    found = []
    for start in range(0, len(hashes), 256):
        nearest = np.full((len(hashes[start : start + 256]), len(hashes)), 64, np.uint8)
        for orientation in range(NUM_ORIENTATIONS):
            turned = hashes[:, orientation]
            apart = np.bitwise_count(hashes[start : start + 256, :1] ^ turned)
            np.minimum(nearest, apart, out=nearest)
        rows, others = np.nonzero(nearest <= max_distance)
        rows += start
        is_other = rows != others
        pairs = np.sort(np.stack([rows[is_other], others[is_other]], axis=1), axis=1)
        found.append(pairs)
    return np.unique(np.concatenate(found), axis=0)


if __name__ == "__main__":
    sys.exit(main())
