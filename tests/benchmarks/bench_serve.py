"""The served model against MLflow's Keras flavour of the same network, both behind `mlflow models serve`.

And against itself with a U-Net that finds the lesion in each picture and cuts it out first.

Run by `make bench-serve`. Ratios are taken within rounds in which both take turns: median (lowest to
highest).
Everything happens on this machine's loopback address and in a temporary folder; numbers of requests and
seconds are bounded. Writes the table to the terminal and JSON to `--out`. Ends with exit code 1 when an
answer is wrong or lost, or a target is missed, which `--quick` does not judge.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests

from melanoma import files
from melanoma.data.crops import Crop
from melanoma.data.images import load_square
from melanoma.serving import client
from melanoma.serving.network import Network
from melanoma.serving.segmenter import Cutter, Segmenter
from tests.benchmarks import attacked, served_views, servers
from tests.benchmarks.contestants import ROOT
from tests.benchmarks.rows import Row, Spread, as_json, describe_machine, missed, print_rows, ratios
from tests.data.pictures import encode
from tests.data.zoo import skin
from tests.serving import attacks, cropping

HEIGHT, WIDTH = 560, 768
NUM_PICTURES = 32
TOLERANCE = 1e-5  # of a probability
KERAS = "the Keras flavour"
MAX_GROWTH = 1.1  # of the server's memory, from a tenth of the requests to the last


@dataclass(frozen=True)
class Amounts:
    """How much is measured.

    Attributes:
        starts: Number of starts of each server.
        rounds: Number of rounds in which the two servers alternate.
        requests: Number of requests to each server per round.
        client_seconds: Seconds for which eight clients ask at once.
        many: Number of requests while memory is measured.
        many_seconds: Maximum duration of that measurement in seconds.
        attacks: Number of kinds of attacks.
        uploads: Uploads that are cut off at once.
        views: Number of entries of `served_views.COUNTS`.
    """

    starts: int
    rounds: int
    requests: int
    client_seconds: float
    many: int
    many_seconds: float
    attacks: int
    uploads: int
    views: int


FULL = Amounts(
    starts=3,
    rounds=5,
    requests=20,
    client_seconds=60,
    many=10_000,
    many_seconds=600,
    attacks=6,
    uploads=80,
    views=len(served_views.COUNTS),
)
QUICK = Amounts(
    starts=1,
    rounds=1,
    requests=2,
    client_seconds=2,
    many=20,
    many_seconds=10,
    attacks=1,
    uploads=4,
    views=1,
)


def main() -> int:
    """Measure, print and write; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/serve.json"))
    args = parser.parse_args()

    machine = describe_machine()
    print(f"{machine['processor']}, {machine['num_cores']} cores, load {machine['load_before']}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = _measure(Path(folder), QUICK if args.quick else FULL)
    files.write_json({"machine": machine, "is_quick": args.quick, "rows": as_json(rows)}, args.out)
    print(f"\n-> {args.out}")
    misses = [] if args.quick else missed(rows)
    for miss in misses:
        print(miss, file=sys.stderr)
    return 1 if misses else 0


def _measure(folder: Path, amounts: Amounts) -> list[Row]:
    """All rows, each printed as soon as it is known."""
    settings = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "tests.benchmarks.served_models", str(folder), str(amounts.views)]
    paths = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    subprocess.run(command, cwd=ROOT, env=os.environ | settings | paths, check=True, capture_output=True)
    models = json.loads((folder / "models.json").read_text(encoding="utf-8"))
    pictures = [encode(skin(seed, height=HEIGHT, width=WIDTH), "JPEG") for seed in range(NUM_PICTURES)]
    network = Network(folder / "model.onnx")
    cutter = Cutter(Segmenter(folder / "segmenter" / "model.onnx"), Crop(**models["crop"]))
    rows: list[Row] = []
    with (
        servers.start(folder, models["own"], settings, amounts.starts) as own,
        servers.start(folder, models["cut"], settings, 1) as cut,
        servers.start(folder, models["keras"], settings, amounts.starts) as keras,
    ):
        bench = Bench(pictures, network, cutter, own, cut, keras, amounts)
        alone = (bench.starting, bench.one_picture, bench.cutting, bench.batch)
        for part in (*alone, bench.clients, bench.attacked, bench.many_requests):
            found = part()
            print_rows(found)
            rows += found
    for served in models["views"]:
        found = served_views.measure(served, pictures, folder, settings, amounts.requests)
        print_rows(found)
        rows += found
    return rows


# ---- what is measured ------------------------------------------------------------------------


@dataclass
class Bench:
    """The servers, the pictures, and in this process the network and what cuts."""

    pictures: list[bytes]
    network: Network
    cutter: Cutter
    own: servers.Server
    cut: servers.Server
    keras: servers.Server
    amounts: Amounts

    def __post_init__(self) -> None:
        """Sessions keep their connections, as a client that asks often would."""
        self._session = requests.Session()
        self._size = self.network.image_size
        pixels = np.stack([load_square(picture, self._size) for picture in self.pictures])
        self._expected = self.network.score(pixels)
        parts = [cropping.cut(self.cutter, picture, self._size) for picture in self.pictures]
        self._expected_cut = self.network.score(np.stack([part for part in parts if part is not None]))

    def starting(self) -> list[Row]:
        """Time to ready and memory, with no request answered yet."""
        seconds = ratios(self.own.seconds, self.keras.seconds, to=KERAS, at_most=0.5)
        memory = ratios(self.own.mebibytes, self.keras.mebibytes, to=KERAS, at_most=1 / 3)
        together = ratios(self.own.all_mebibytes, self.keras.all_mebibytes, to=KERAS)
        launcher = "with the waiting `mlflow models serve`, the same of both"
        return [
            Row("start", "time to ready", "s", Spread.of(self.own.seconds), seconds),
            Row("start", f"time to ready of {KERAS}", "s", Spread.of(self.keras.seconds)),
            Row("start", "memory of what serves", "MiB", Spread.of(self.own.mebibytes), memory),
            Row("start", f"memory of {KERAS}", "MiB", Spread.of(self.keras.mebibytes)),
            Row("start", "all memory", "MiB", Spread.of(self.own.all_mebibytes), together, launcher),
            Row("start", f"all memory of {KERAS}", "MiB", Spread.of(self.keras.all_mebibytes)),
        ]

    def one_picture(self) -> list[Row]:
        """Median time of one JPEG: served, by the Keras flavour, and decoded and scored in this process."""
        ways: dict[str, Callable[[int], None]] = {
            "own": self._ask,
            "keras": self._ask_keras,
            "here": self._score_here,
        }
        for way in ways.values():  # the first request of a server loads what the later ones use
            way(0)
        medians: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(self.amounts.rounds):
            for name, way in ways.items():
                times = [_milliseconds(way, number) for number in range(self.amounts.requests)]
                medians[name].append(float(np.median(times)))
        own, keras, here = medians.values()
        return [
            Row("one", "p50 of one JPEG", "ms", Spread.of(own), ratios(own, keras, to=KERAS, at_most=0.2)),
            Row("one", f"p50 of {KERAS}", "ms", Spread.of(keras)),
            Row(
                "one",
                "p50 of one JPEG beside decode and forward",
                "ms",
                Spread.of(own),
                ratios(own, here, to="decode and forward in process", at_most=2),
            ),
            Row("one", "decode and forward in process", "ms", Spread.of(here)),
        ]

    def cutting(self) -> list[Row]:
        """Median time of one JPEG whose lesion is found and cut out first, and of one scored whole."""
        self._ask_cut(0)
        cut: list[float] = []
        whole: list[float] = []
        for _ in range(self.amounts.rounds):
            for way, medians in ((self._ask_cut, cut), (self._ask, whole)):
                times = [_milliseconds(way, number) for number in range(self.amounts.requests)]
                medians.append(float(np.median(times)))
        longer = ratios(cut, whole, to="scored whole", at_most=2)
        return [
            Row("cut", "p50 of one JPEG, its lesion cut out first", "ms", Spread.of(cut), longer),
            Row("cut", "p50 of one JPEG, scored whole", "ms", Spread.of(whole)),
        ]

    def batch(self) -> list[Row]:
        """Images a second of one request with 32, of 32 with one, and of the Keras flavour with 32."""
        together, alone, keras = [], [], []
        for _ in range(self.amounts.rounds):
            together.append(1000 * NUM_PICTURES / _milliseconds(self._ask, *range(NUM_PICTURES)))
            start = time.perf_counter()
            for number in range(NUM_PICTURES):
                self._ask(number)
            alone.append(NUM_PICTURES / (time.perf_counter() - start))
            keras.append(1000 * NUM_PICTURES / _milliseconds(self._ask_keras, *range(NUM_PICTURES)))
        name, unit, spread = "32 JPEGs in a request", "images/s", Spread.of(together)
        return [
            Row("batch", name, unit, spread, ratios(together, alone, to="one by one", at_least=2)),
            Row("batch", name, unit, spread, ratios(together, keras, to=KERAS, at_least=2)),
            Row("batch", "32 requests one by one", unit, Spread.of(alone)),
            Row("batch", f"32 images in a request to {KERAS}", unit, Spread.of(keras)),
        ]

    def clients(self) -> list[Row]:
        """Eight clients at once; every answer is compared."""
        end = time.perf_counter() + self.amounts.client_seconds

        def ask_until_the_end(number: int) -> list[float]:
            session = requests.Session()
            times: list[float] = []
            while time.perf_counter() < end:
                times.append(_milliseconds(self._ask, (number + len(times)) % NUM_PICTURES, session=session))
            return times

        with ThreadPoolExecutor(8) as pool:
            times = [one for found in pool.map(ask_until_the_end, range(8)) for one in found]
        name = f"8 clients for {self.amounts.client_seconds:g} s: all {len(times)} answers right"
        return [
            Row("clients", f"{name}, p99", "ms", Spread.of([float(np.percentile(times, 99))])),
            Row("clients", f"{name}, p50", "ms", Spread.of([float(np.median(times))])),
        ]

    def attacked(self) -> list[Row]:
        """What good requests meet while somebody attacks."""
        target, picture = attacks.victim(self.own.url), self.pictures[0]
        return attacked.rows(
            target,
            picture,
            float(self._expected[0]),
            usual_seconds=self.amounts.client_seconds / 10,
            num_attacks=self.amounts.attacks,
            num_uploads=self.amounts.uploads,
        )

    def many_requests(self) -> list[Row]:
        """Memory of the server after a tenth of many requests and after the last."""
        start, end = time.perf_counter(), time.perf_counter() + self.amounts.many_seconds
        after_a_tenth, number = servers.memory(self.own.process), 0
        for number in range(1, self.amounts.many + 1):
            self._ask(number % NUM_PICTURES)
            if number == self.amounts.many // 10:
                after_a_tenth = servers.memory(self.own.process)
            if time.perf_counter() > end:
                break
        last = servers.memory(self.own.process)
        ratio = ratios([last], [after_a_tenth], to="after a tenth of them", at_most=MAX_GROWTH)
        note = f"{time.perf_counter() - start:.0f} s"
        return [Row("many", f"memory after {number} requests", "MiB", Spread.of([last]), ratio, note)]

    def _ask(self, *numbers: int, session: requests.Session | None = None) -> None:
        """Post these pictures and compare the answers."""
        found = self._post(self.own, numbers, session or self._session)
        _require_equal(found, self._expected[list(numbers)])

    def _ask_cut(self, *numbers: int) -> None:
        """The same of the server that cuts."""
        _require_equal(self._post(self.cut, numbers, self._session), self._expected_cut[list(numbers)])

    def _post(self, server: servers.Server, numbers: Sequence[int], session: requests.Session) -> list[float]:
        body = client.request_body({str(number): self.pictures[number] for number in numbers})
        response = session.post(f"{server.url}/invocations", json=body, timeout=60)
        rows: list[dict[str, Any]] = response.json()["predictions"]
        return [row["probability"] for row in rows]

    def _ask_keras(self, *numbers: int) -> None:
        """What a client of the Keras flavour does: decode, resize, post the pixels as numbers."""
        pixels = np.stack([load_square(self.pictures[number], self._size) for number in numbers])
        url = f"{self.keras.url}/invocations"
        response = self._session.post(url, json={"inputs": pixels.tolist()}, timeout=60)
        _require_equal(np.ravel(response.json()["predictions"]), self._expected[list(numbers)])

    def _score_here(self, number: int) -> None:
        pixels = load_square(self.pictures[number], self._size)[None]
        _require_equal(self.network.score(pixels), self._expected[[number]])


def _milliseconds(work: Callable[..., None], *numbers: int, **options: Any) -> float:
    start = time.perf_counter()
    work(*numbers, **options)
    return (time.perf_counter() - start) * 1000


def _require_equal(found: Any, expected: np.ndarray) -> None:
    """A wrong answer, or a lost one, ends the benchmark."""
    np.testing.assert_allclose(np.asarray(found, dtype=float), expected, rtol=0, atol=TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
