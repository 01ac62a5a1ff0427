"""Whether intervals, splits, gates and guarantees keep their promise where the truth is known.

Run by `python -m tests.benchmarks.bench_statistics`. Each topic simulates data with a known truth and applies
the rule that was in use before and the present one to the same draws. Writes the table to the terminal, as
JSON to `--out`, and with `--write` into two READMEs: all rows into that of the simulations, the first row
of each topic into that of `evaluation/`.
"""

import argparse
import re
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pandas as pd

from melanoma import files
from melanoma.markdown import markdown
from tests.simulations.rows import Row

TOPICS: tuple[str, ...] = (  # modules of tests.simulations, each with `simulate(num, seed)`; one a line
    "choices",
    "crossvalidation",
    "calibration",
    "ensembles",
    "gates",
    "intervals",
    "seeds",
    "power",
    "sides",
    "operating_point",
    "late_labels",
    "shift",
)
README, ALL_ROWS = Path("src/melanoma/evaluation/README.md"), Path("tests/simulations/README.md")
BLOCK = re.compile(r"(<!-- simulations -->\n).*?(<!-- /simulations -->)", re.DOTALL)


def main() -> int:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "topics", nargs="*", default=TOPICS, help=f"some of {', '.join(TOPICS)}; default: all"
    )
    parser.add_argument(
        "--num", type=int, default=2_000, help="simulated data sets per truth (default: 2000)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"write the table into {ALL_ROWS} and {README}")
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/statistics.json"))
    args = parser.parse_args()
    by_topic: list[list[Row]] = []
    for topic in args.topics:
        start = time.perf_counter()
        by_topic.append(import_module(f"tests.simulations.{topic}").simulate(args.num, args.seed))
        print(f"{topic}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    rows = [row for found in by_topic for row in found]
    print(as_table(rows))
    files.write_json({"num": args.num, "seed": args.seed, "rows": [asdict(row) for row in rows]}, args.out)
    if args.write:
        write_table(rows, ALL_ROWS)
        write_table([found[0] for found in by_topic], README)
    return 0


def as_table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    return markdown(pd.DataFrame([asdict(row) for row in rows]))


def write_table(rows: list[Row], readme: Path) -> None:
    """Replace the table of a README."""
    text = readme.read_text(encoding="utf-8")
    files.write_text(BLOCK.sub(lambda block: f"{block[1]}{as_table(rows)}\n{block[2]}", text), readme)


if __name__ == "__main__":
    sys.exit(main())
