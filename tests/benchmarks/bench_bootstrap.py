"""The bootstrap of all metrics against a plain loop over draws with scikit-learn, side by side in one run.

Run by `python -m tests.benchmarks.bench_bootstrap`. Ratios are taken within rounds in which both take turns:
median (lowest to highest). Writes the table to the terminal and JSON to `--out`. Ends with exit code 1 when
a target is missed, which `--quick` does not judge.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from melanoma import files
from melanoma.evaluation import bootstrap
from melanoma.evaluation.metric_table import WEIGHTED
from melanoma.evaluation.metrics import compute_metrics
from tests.benchmarks.contestants import Answer, alternate
from tests.benchmarks.rows import Row, Spread, as_json, describe_machine, missed, print_rows, ratios
from tests.evaluation.sklearn_metrics import NUM_BINS, reference_metric

PART = "bootstrap"
NUM_SAMPLES, NUM_DRAWS = 2_000, 2_000
PREVALENCE = 0.2
THRESHOLD = 0.4
MAX_SECONDS = 5.0
MAX_DIFFERENCE = 1e-9
LOOP_DRAWS = 100  # of the plain loop, whose time is scaled to all draws


def main() -> int:
    """Measure, print and write; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/bootstrap.json"))
    args = parser.parse_args()

    machine = describe_machine()
    print(f"{machine['processor']}, {machine['num_cores']} cores, load {machine['load_before']}", flush=True)
    rows = measure(num_draws=100, loop_draws=3, num_rounds=1) if args.quick else measure()
    print_rows(rows)
    files.write_json({"machine": machine, "is_quick": args.quick, "rows": as_json(rows)}, args.out)
    print(f"\n-> {args.out}")
    misses = [] if args.quick else missed(rows)
    for miss in misses:
        print(miss, file=sys.stderr)
    return 1 if misses else 0


def measure(*, num_draws: int = NUM_DRAWS, loop_draws: int = LOOP_DRAWS, num_rounds: int = 5) -> list[Row]:
    """Rows of both ways, and of how far their values differ."""
    target, probability, group_ids = _predictions()
    weights = bootstrap.draw_weights(group_ids, num_draws=num_draws, seed=1)
    few = weights[:loop_draws]

    def ours() -> Answer:
        start = time.perf_counter()
        bootstrap.metrics_with_intervals(
            target,
            probability,
            group_ids,
            threshold=THRESHOLD,
            draws=bootstrap.Draws(num_draws, 1),
            num_bins=NUM_BINS,
        )
        return {"seconds": time.perf_counter() - start}

    def loop() -> Answer:
        start = time.perf_counter()
        _plain_loop(target, probability, few)
        return {"seconds": (time.perf_counter() - start) * num_draws / len(few)}

    answers = alternate({"ours": ours, "loop": loop}, num_rounds)
    seconds = {name: [answer["seconds"] for answer in own] for name, own in answers.items()}
    allowed = ratios(seconds["ours"], [MAX_SECONDS] * num_rounds, to="what is allowed", at_most=1.0)
    gain = ratios(seconds["loop"], seconds["ours"], to="ours")
    apart = _largest_difference(target, probability, few)
    about = f"{num_draws:,} draws, {NUM_SAMPLES:,} predictions, {len(WEIGHTED)} metrics, drawing included"
    return [
        Row(PART, "ours", "s", Spread.of(seconds["ours"]), allowed, note=about),
        Row(
            PART,
            "loop over draws with scikit-learn",
            "s",
            Spread.of(seconds["loop"]),
            gain,
            note=f"{len(few)} draws, scaled",
        ),
        Row(
            PART,
            "largest difference of a value",
            "1e-9",
            Spread.of([apart / MAX_DIFFERENCE]),
            ratios([apart], [MAX_DIFFERENCE], to="what is allowed", at_most=1.0),
        ),
    ]


def _predictions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, probabilities (some tie) and groups of two."""
    generator = np.random.default_rng(3)
    target = (generator.random(NUM_SAMPLES) < PREVALENCE).astype(np.int64)
    probability = np.clip(generator.normal(0.3 + 0.2 * target, 0.2), 0, 1).round(4)
    return target, probability, np.arange(NUM_SAMPLES) // 2


def _plain_loop(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Shape `(num_draws, num_metrics)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn, where a metric is undefined
        values = [
            [reference_metric(name, target, probability, row, threshold=THRESHOLD) for name in WEIGHTED]
            for row in weights
        ]
    return np.array(values)


def _largest_difference(target: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> float:
    found = compute_metrics(target, probability, threshold=THRESHOLD, weights=weights, num_bins=NUM_BINS)
    ours = np.column_stack([found[name] for name in WEIGHTED])
    return float(np.abs(ours - _plain_loop(target, probability, weights)).max())


if __name__ == "__main__":
    sys.exit(main())
