"""EfficientNet-Lite0 at 224 px as it is served: time and memory by number of networks and views."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import requests

from melanoma.data.images import load_square
from melanoma.serving import client
from melanoma.serving.network import Network
from tests.benchmarks import servers
from tests.benchmarks.rows import Row, Spread, ratios

COUNTS = ((1, 1), (1, 4), (1, 8), (2, 4), (4, 1), (4, 4))  # networks and views
NUM_ROUNDS = 5
NUM_CLIENTS = 8
TOLERANCE = 1e-5  # of a probability
TARGETS = "targets on two idle cores: 60 ms and 400 MiB"


def log(
    params: Any, log_served_model: Callable[..., str], folder: Path, counts: Sequence[tuple[int, int]]
) -> list[dict[str, Any]]:
    """Log each pair of `counts`; `measure` takes one entry of the result."""
    import keras

    from melanoma.models.builders import build_model
    from melanoma.training.saving import save_model

    drawn = params.backbone.model_copy(update={"weights": None})  # time does not depend on the weights
    keras.utils.set_random_seed(1)
    networks = [build_model(drawn, params.model, image_size=drawn.image_size) for _ in range(max(counts)[0])]
    entries = []
    for num_networks, num_views in counts:
        path = folder / f"networks_{num_networks}"
        if not path.exists():
            save_model(networks[:num_networks], path)
        uri = log_served_model(network=path / "model.onnx", num_views=num_views)
        entries.append({"networks": num_networks, "views": num_views, "uri": uri, "folder": str(path)})
    return entries


def measure(
    served: Mapping[str, Any],
    pictures: Sequence[bytes],
    folder: Path,
    settings: dict[str, str],
    num_requests: int,
) -> list[Row]:
    """Median time of one JPEG, beside decoding and scoring in this process, processor time, and memory.

    Processor time, of serving process and decoders, depends less on what else the machine does.
    Memory is that of the serving process without its decoders, after eight clients at once.
    """
    network = Network(Path(served["folder"]) / "model.onnx", num_views=served["views"])
    expected = network.score(np.stack([load_square(one, network.image_size) for one in pictures]))
    session = requests.Session()

    def ask(number: int, session: requests.Session = session) -> None:
        body = client.request_body({"a": pictures[number]})
        answer = session.post(f"{server.url}/invocations", json=body, timeout=60).json()
        np.testing.assert_allclose(
            answer["predictions"][0]["probability"], expected[number], rtol=0, atol=TOLERANCE
        )

    def score_here(number: int) -> None:
        network.score(load_square(pictures[number], network.image_size)[None])

    with servers.start(folder, served["uri"], settings, 1) as server:
        ask(0)
        serving = server.process.children()[0]
        spent = servers.processor_seconds(serving)
        medians: dict[str, list[float]] = {"served": [], "here": []}
        for _ in range(NUM_ROUNDS):
            for way, work in (("served", ask), ("here", score_here)):
                times = []
                for number in range(num_requests):
                    start = time.perf_counter()
                    work(number % len(pictures))
                    times.append(1000 * (time.perf_counter() - start))
                medians[way].append(float(np.median(times)))
        spent = (servers.processor_seconds(serving) - spent) / (NUM_ROUNDS * num_requests)
        with ThreadPoolExecutor(NUM_CLIENTS) as pool:
            for _ in pool.map(lambda number: ask(number % len(pictures), requests.Session()), range(32)):
                pass
        own = servers.memory_alone(serving)
    name = f"Lite0, networks x views {served['networks']} x {served['views']}"
    beside = ratios(medians["served"], medians["here"], to="decode and forward in process")
    return [
        Row("views", f"{name}: p50 of one JPEG", "ms", Spread.of(medians["served"]), beside, TARGETS),
        Row("views", f"{name}: processor time per answer", "ms", Spread.of([1000 * spent])),
        Row("views", f"{name}: memory of the serving process", "MiB", Spread.of([own])),
    ]
