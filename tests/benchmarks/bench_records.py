"""What recording answers costs, and whether a kill loses any record.

Run by `make bench-records`. Two servers of EfficientNet-Lite0 with one view, of which one records, take
turns; ratios are taken within rounds: median (lowest to highest). Eight clients then post images;
the recording server is killed halfway and started again. Writes JSON to `--out`. Ends with exit code 1 if an
answer that was received has no record, or records cost more than `MAX_COST`, which `--quick` does not judge.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests

from melanoma import files
from melanoma.errors import TrackingError
from melanoma.monitoring import records
from melanoma.serving import client
from melanoma.serving.records import RECORDS, RECORDS_KEY
from tests.benchmarks import servers
from tests.benchmarks.bench_serve import HEIGHT, NUM_PICTURES, WIDTH
from tests.benchmarks.contestants import ROOT
from tests.benchmarks.rows import Row, Spread, as_json, describe_machine, missed, print_rows, ratios
from tests.data.pictures import encode
from tests.data.zoo import skin

MAX_COST = 1.05  # times p50 without records
NUM_CLIENTS, NUM_ROUNDS = 8, 9


def main() -> int:
    """Measure, print and write; 1 when a record is lost or a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few requests, to see that it runs")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/records.json"))
    args = parser.parse_args()
    machine = describe_machine()
    print(f"{machine['processor']}, {machine['num_cores']} cores, load {machine['load_before']}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        settings = {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [sys.executable, "-m", "tests.benchmarks.served_models", str(folder), "1"]
        paths = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        subprocess.run(command, cwd=ROOT, env=os.environ | settings | paths, check=True, capture_output=True)
        served = json.loads((folder / "models.json").read_text(encoding="utf-8"))["views"][0]
        recording = settings | {RECORDS: str(folder / "records"), RECORDS_KEY: "k" * 32}
        pictures = [encode(skin(seed, height=HEIGHT, width=WIDTH), "JPEG") for seed in range(NUM_PICTURES)]
        bodies = [client.request_body({"a": one}) for one in pictures]
        num = 5 if args.quick else 60
        requested = list(itertools.islice(itertools.cycle(bodies), num))
        rows = _cost(folder, served["uri"], settings, recording, requested)
        print_rows(rows)
        lost = _kill(folder, served["uri"], recording, pictures, 200 if args.quick else args.requests)
        print_rows(lost)
        rows += lost
    files.write_json({"machine": machine, "is_quick": args.quick, "rows": as_json(rows)}, args.out)
    misses = [] if args.quick else missed(rows)
    for miss in misses:
        print(miss, file=sys.stderr)
    return 1 if misses else 0


def _cost(folder, uri, settings, recording, bodies) -> list[Row]:  # type: ignore[no-untyped-def]
    """The median time of one JPEG with and without records."""
    session = requests.Session()
    medians: dict[str, list[float]] = {"with": [], "without": []}
    with (
        servers.start(folder, uri, settings, 1) as plain,
        servers.start(folder, uri, recording, 1) as recorded,
    ):
        for number in range(NUM_ROUNDS + 1):
            for name, server in (("without", plain), ("with", recorded))[:: 1 if number % 2 else -1]:
                times = []
                for body in bodies:
                    start = time.perf_counter()
                    session.post(f"{server.url}/invocations", json=body, timeout=60).raise_for_status()
                    times.append(1000 * (time.perf_counter() - start))
                if number:  # the first round warms up
                    medians[name].append(float(np.median(times)))
    beside = ratios(medians["with"], medians["without"], to="without records", at_most=MAX_COST)
    return [Row("records", "p50 of one JPEG, recorded", "ms", Spread.of(medians["with"]), beside)]


def _kill(folder, uri, recording, pictures, num_requests) -> list[Row]:  # type: ignore[no-untyped-def]
    """Records of the answers that clients received, with a kill of the server halfway."""
    numbers, lock, received = iter(range(num_requests)), threading.Lock(), []

    def post(url: str, last: int) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                (row,) = client.score_images(url, {str(number): pictures[number % len(pictures)]})
            except (TrackingError, requests.RequestException):
                return  # killed
            with lock:
                received.append(row["prediction_id"])
                if len(received) == last:
                    return

    def all_post(url: str, last: int) -> None:
        with ThreadPoolExecutor(NUM_CLIENTS) as pool:
            for _ in pool.map(lambda _: post(url, last), range(NUM_CLIENTS)):
                pass

    with servers.start(folder, uri, recording, 1) as server:
        serving = server.process.children()[0]
        killer = threading.Thread(target=_kill_after, args=(received, num_requests // 2, serving.pid))
        killer.start()
        all_post(server.url, num_requests)
        killer.join()
    with servers.start(folder, uri, recording, 1) as server:
        all_post(server.url, num_requests)
    place = folder / "records"
    found = records.read(place, spool=place / "spool").rows
    kept = found["prediction_id"].isin(received).sum() / len(received)
    answers = found["image_id"] != "a"  # of the measurement of costs
    extra = int(answers.sum()) - len(received)
    share = ratios([kept], [1.0], to="answers received", at_least=1.0)
    return [
        Row("records", "answers received that have a record", "", Spread.of([len(received)]), share),
        Row(
            "records",
            "records without an answer received",
            "",
            Spread.of([extra]),
            note="in flight when killed",
        ),
    ]


def _kill_after(received: list[str], num: int, process: int) -> None:
    while len(received) < num:
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
