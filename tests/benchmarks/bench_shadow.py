"""What a challenger in shadow costs the answers of the served model.

Run by `make bench-shadow`. Two servers of EfficientNet-Lite0 with one view record their answers; one of them
has a challenger, the same model. They take turns under half of the load that one can bear: requests come at
random times, and the time of an answer counts from when its request was due. Ratios are taken within rounds:
geometric mean with a 95 % interval over rounds. Writes JSON to `--out`. Ends with exit code 1 if p99 grows by
more than `MAX_COST`, which `--quick` does not judge.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import numpy as np
import requests
from scipy import stats

from melanoma import files
from melanoma.serving import client
from melanoma.serving.metrics import METRICS_PORT
from melanoma.serving.records import RECORDS, RECORDS_KEY
from melanoma.serving.shadow import SHADOW
from tests.benchmarks import servers
from tests.benchmarks.bench_serve import HEIGHT, NUM_PICTURES, WIDTH
from tests.benchmarks.contestants import ROOT
from tests.benchmarks.rows import Ratio, Row, Spread, as_json, describe_machine, missed, print_rows
from tests.data.pictures import encode
from tests.data.zoo import skin
from tests.end_to_end.clone import free_port
from tests.serving.scrapes import scrape

MAX_COST = 1.1  # times p99 without a challenger
LOAD = 0.5  # of the capacity
NUM_CLIENTS = 8  # that ask without a pause, to measure the capacity
NUM_THREADS = 64  # that ask at their times
DRAIN_SECONDS = 600  # on a busy machine, a challenger gets hardly any time
PLAIN, SHADOWED = "without a challenger", "with a challenger"


@dataclass
class Measured:
    """Milliseconds of the answers of a server, one array a round."""

    rounds: list[np.ndarray] = field(default_factory=list)

    def quantile(self, q: float) -> list[float]:
        """That quantile of each round."""
        return [float(np.quantile(one, q)) for one in self.rounds]


def main() -> int:
    """Measure, print and write; 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few requests, to see that it runs")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--requests", type=int, default=400, help="of a round, to each server")
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/shadow.json"))
    args = parser.parse_args()
    num_rounds, num_requests = (2, 20) if args.quick else (args.rounds, args.requests)
    machine = describe_machine()
    print(f"{machine['processor']}, {machine['num_cores']} cores, load {machine['load_before']}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        rows = _measure(Path(name), num_rounds, num_requests, capacity_seconds=2 if args.quick else 15)
    print_rows(rows)
    machine["load_after"] = round(os.getloadavg()[0], 2)
    files.write_json({"machine": machine, "is_quick": args.quick, "rows": as_json(rows)}, args.out)
    misses = [] if args.quick else missed(rows)
    for miss in misses:
        print(miss, file=sys.stderr)
    return 1 if misses else 0


def _measure(folder: Path, num_rounds: int, num_requests: int, *, capacity_seconds: float) -> list[Row]:
    settings = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "tests.benchmarks.served_models", str(folder), "1"]
    paths = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    subprocess.run(command, cwd=ROOT, env=os.environ | settings | paths, check=True, capture_output=True)
    uri = json.loads((folder / "models.json").read_text(encoding="utf-8"))["views"][0]["uri"]
    pictures = [encode(skin(seed, height=HEIGHT, width=WIDTH), "JPEG") for seed in range(NUM_PICTURES)]
    bodies = [json.dumps(client.request_body({"a": one})).encode() for one in pictures]
    port = free_port()
    recording = settings | {RECORDS: str(folder / "records"), RECORDS_KEY: "k" * 32}
    shadowing = recording | {SHADOW: uri, METRICS_PORT: str(port), "TMPDIR": str(folder)}
    with ExitStack() as stack:
        plain = stack.enter_context(servers.start(folder, uri, recording, 1))
        shadowed = stack.enter_context(servers.start(folder, uri, shadowing, 1))
        urls = {PLAIN: plain.url, SHADOWED: shadowed.url}
        for url in urls.values():
            _ask(url, bodies, np.arange(NUM_PICTURES) / 4)  # warms up
        _until_idle(port)
        capacity = _capacity(plain.url, bodies, capacity_seconds)
        measured = {name: Measured() for name in urls}
        generator = np.random.default_rng(5)
        before = scrape(port)
        for number in range(num_rounds):
            due = np.cumsum(generator.exponential(1 / (LOAD * capacity), num_requests))
            for name, url in list(urls.items())[:: 1 if number % 2 else -1]:
                measured[name].rounds.append(_ask(url, bodies, due))
                _until_idle(port)  # what waits for the challenger must not slow down the other server
        after = scrape(port)
    return [*_times(measured, capacity), _outcomes(before, after)]


def _capacity(url: str, bodies: list[bytes], seconds: float) -> float:
    """Answers a second to clients that ask without a pause."""
    end = time.perf_counter() + seconds

    def ask_until_the_end() -> int:
        session, asked = requests.Session(), itertools.cycle(bodies)
        return sum(_post(session, url, next(asked)) for _ in iter(lambda: time.perf_counter() < end, False))

    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        return sum(pool.map(lambda _: ask_until_the_end(), range(NUM_CLIENTS))) / seconds


def _ask(url: str, bodies: list[bytes], due: np.ndarray) -> np.ndarray:
    """Milliseconds from when each request was due, in seconds from now, until it was answered.

    Each has a connection of its own: the server closes those that are idle.
    """
    begun = time.perf_counter() + 0.5

    def ask(number: int) -> float:
        time.sleep(max(0.0, begun + due[number] - time.perf_counter()))
        with requests.Session() as session:
            _post(session, url, bodies[number % len(bodies)])
        return 1000 * (time.perf_counter() - begun - due[number])

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return np.array(list(pool.map(ask, range(len(due)))))


def _post(session: requests.Session, url: str, body: bytes) -> int:
    """Ask until the server answers: a busy machine may have to refuse a request, whose time goes on."""
    headers = {"content-type": "application/json"}
    while True:
        response = session.post(f"{url}/invocations", data=body, headers=headers, timeout=60)
        if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            response.raise_for_status()
            return 1
        time.sleep(0.1)


def _until_idle(port: int) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while scrape(port)["melanoma_shadow_waiting"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"rows still wait for the challenger after {DRAIN_SECONDS} seconds")
        time.sleep(0.5)
    time.sleep(2)  # for the row that it works on, and for a sample that is a second old


def _times(measured: dict[str, Measured], capacity: float) -> list[Row]:
    rows = []
    for q, target in ((0.5, None), (0.99, MAX_COST)):
        own, others = (measured[name].quantile(q) for name in (SHADOWED, PLAIN))
        name = f"p{100 * q:g} of one JPEG at {LOAD * capacity:.1f} requests a second"
        rows.append(Row("shadow", f"{name}, {PLAIN}", "ms", Spread.of(others)))
        rows.append(Row("shadow", f"{name}, {SHADOWED}", "ms", Spread.of(own), _ratio(own, others, target)))
    return rows


def _ratio(own: list[float], others: list[float], at_most: float | None) -> Ratio:
    """Geometric mean of the ratios of all rounds with its 95 % interval."""
    logs = np.log(np.array(own) / np.array(others))
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    value, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half]).tolist()
    return Ratio(value, low, high, to=PLAIN, at_most=at_most)


def _outcomes(before: dict[str, float], after: dict[str, float]) -> Row:
    names = {one: f'melanoma_shadow_rows_total{{outcome="{one}"}}' for one in ("scored", "dropped", "failed")}
    counted = {one: after[name] - before[name] for one, name in names.items()}
    note = ", ".join(f"{value:.0f} {one}" for one, value in counted.items())
    share = counted["scored"] / sum(counted.values())
    return Row("shadow", "rows that the challenger scored", "%", Spread.of([100 * share]), note=note)


if __name__ == "__main__":
    sys.exit(main())
