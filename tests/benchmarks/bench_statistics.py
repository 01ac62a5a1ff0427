"""Whether intervals, splits, gates, guarantees and alarms keep their promise where the truth is known.

Run by `python -m tests.benchmarks.bench_statistics`. Each topic simulates data with a known truth and applies
the present rule and another one, mostly that in use before, to the same draws. Writes the table to the
terminal, as JSON to `--out`, and with `--write` into READMEs, by area: all rows into that of the simulations,
the first row of each topic into that of `evaluation/` or `monitoring/`.
"""

import argparse
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pandas as pd

from melanoma import files
from melanoma.markdown import markdown
from tests.simulations.rows import Row

AREAS: dict[str, tuple[str, ...]] = {  # modules of tests.simulations, each with `simulate(num, seed)`
    "evaluation": (
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
    ),
    "monitoring": (
        "shift",
        "late_labels",
        "colour_cast",
    ),
}
TOPICS = tuple(topic for topics in AREAS.values() for topic in topics)
READMES = {area: Path(f"src/melanoma/{area}/README.md") for area in AREAS}
ALL_ROWS = Path("tests/simulations/README.md")
BLOCK = re.compile(r"(<!-- simulations of (\w+) -->\n).*?(<!-- /simulations -->)", re.DOTALL)


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
    parser.add_argument(
        "--write", action="store_true", help="write the tables of all areas whose topics are all simulated"
    )
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/statistics.json"))
    args = parser.parse_args()
    complete = [area for area, topics in AREAS.items() if set(topics) <= set(args.topics)]
    if args.write and not complete:
        parser.error(f"--write needs all topics of an area: {' or '.join(map(' '.join, AREAS.values()))}")
    by_topic: dict[str, list[Row]] = {}
    for topic in args.topics:
        start = time.perf_counter()
        by_topic[topic] = import_module(f"tests.simulations.{topic}").simulate(args.num, args.seed)
        print(f"{topic}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    rows = [row for found in by_topic.values() for row in found]
    print(as_table(rows))
    files.write_json({"num": args.num, "seed": args.seed, "rows": [asdict(row) for row in rows]}, args.out)
    for area in complete if args.write else []:
        write_area(area, by_topic)
    return 0


def as_table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    return markdown(pd.DataFrame([asdict(row) for row in rows]))


def write_area(area: str, by_topic: Mapping[str, list[Row]]) -> None:
    """Write the tables of an area into its READMEs."""
    found = [by_topic[topic] for topic in AREAS[area]]
    write_table([row for rows in found for row in rows], area, ALL_ROWS)
    write_table([rows[0] for rows in found], area, READMES[area])


def write_table(rows: list[Row], area: str, readme: Path) -> None:
    """Replace the table of an area in a README."""
    text = readme.read_text(encoding="utf-8")
    table = as_table(rows)

    def replaced(block: re.Match[str]) -> str:
        return f"{block[1]}{table}\n{block[3]}" if block[2] == area else block[0]

    files.write_text(BLOCK.sub(replaced, text), readme)


if __name__ == "__main__":
    sys.exit(main())
