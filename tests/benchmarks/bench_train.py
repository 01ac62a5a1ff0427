"""Training, packing and tuning against the plain ways, side by side in one run.

Run by `make bench-train`. Ratios are taken within rounds in which all take turns: median (lowest to highest).
Writes the table to the terminal and JSON to `--out`, all else to a temporary folder. Real images come from
MELANOMA_REAL_DATA; a Python that has torch may be named by TORCH_PYTHON; KERAS_BACKEND chooses the backend.
Ends with exit code 1 when a target is missed, which `--quick` does not judge.
"""

import argparse
import importlib
import signal
import sys
import tempfile
import time
from pathlib import Path

# Nothing heavy here, nor above `_measure` at all: each process that `pack` starts imports this file anew.
from tests.benchmarks.rows import Row, as_json, describe_machine, missed, print_rows
from tests.benchmarks.sizes import FULL, QUICK, Size

PARTS = {
    "fit": "bench_fit.measure",
    "variants": "bench_variants.measure_variants",
    "backbone": "bench_variants.measure_backbone",
    "jax": "bench_variants.measure_jax",
    "together": "bench_variants.measure_together",
    "pack": "bench_pack.measure",
    "frozen": "bench_frozen.measure",
    "growth": "bench_growth.measure",
    "tune": "bench_tune.measure",
}


def main() -> int:
    """Measure, print and write; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=str([*PARTS])
    )
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/train.json"))
    args = parser.parse_args()

    from melanoma import files

    machine = describe_machine()
    print(f"{machine['processor']}, {machine['num_cores']} cores, load {machine['load_before']}", flush=True)
    rows: list[Row] = []
    for name in args.only:
        rows += _measure(name, QUICK if args.quick else FULL)
        found = {"machine": machine, "is_quick": args.quick, "rows": as_json(rows)}
        files.write_json(found, args.out)  # after each part: what was measured outlives an interruption
    print(f"\n-> {args.out}")
    misses = [] if args.quick else missed(rows)
    for miss in misses:
        print(miss, file=sys.stderr)
    return 1 if misses else 0


def _measure(name: str, size: Size) -> list[Row]:
    """The rows of one part, printed."""
    module, function = PARTS[name].split(".")
    start = time.perf_counter()
    print(f"\n{name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows: list[Row] = getattr(importlib.import_module(f"tests.benchmarks.{module}"), function)(
            size, Path(folder)
        )
    print_rows(rows)
    print(f"  ({time.perf_counter() - start:.0f} s)", flush=True)
    return rows


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: temporary files go
    sys.exit(main())
