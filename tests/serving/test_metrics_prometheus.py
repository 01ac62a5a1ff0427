"""A real Prometheus scrapes a real server of two processes, and its alerts fire."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from melanoma.serving import client
from melanoma.serving.metrics import METRICS_PORT
from tests.end_to_end import clone
from tests.infra.test_prometheus import CONFIG, RULES
from tests.serving.conftest import serving

PROMETHEUS = Path("/usr/bin/prometheus")
WAIT_SECONDS = 90
WINDOW = "20s"  # of the rates, instead of minutes and hours

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PROMETHEUS.exists(), reason="Prometheus is not installed (apt-get install prometheus)"
    ),
]


def hurried(folder: Path, port: int) -> Path:
    """The settings of `infra/prometheus` for a server at `port`, with seconds instead of minutes."""
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    (folder / CONFIG.name).write_text(yaml.safe_dump(config))
    rules = re.sub(r"\[\d+[mh]\]", f"[{WINDOW}]", RULES.read_text())
    (folder / RULES.name).write_text(re.sub(r"for: \d+m", "for: 2s", rules))
    return folder / CONFIG.name


def query(url: str, expression: str) -> float | None:
    """The value of an expression without labels; None if it has none."""
    answer = requests.get(f"{url}/api/v1/query", params={"query": expression}, timeout=10).json()
    found = answer["data"]["result"]
    return float(found[0]["value"][1]) if found else None


def firing(url: str) -> dict[str, dict[str, str]]:
    """The annotations of the alerts that fire, by their names."""
    alerts = requests.get(f"{url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
    return {one["labels"]["alertname"]: one["annotations"] for one in alerts if one["state"] == "firing"}


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not in {WAIT_SECONDS} seconds")


def test_a_real_prometheus_scrapes_a_server_and_its_alerts_fire(logged, pictures, tmp_path):
    port, own = clone.free_port(), clone.free_port()
    url = f"http://127.0.0.1:{own}"
    command = [
        str(PROMETHEUS),
        f"--web.listen-address=127.0.0.1:{own}",
        f"--config.file={hurried(tmp_path, port)}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
    ]
    settings = {METRICS_PORT: str(port), "TMPDIR": str(tmp_path)}
    with clone.server(tmp_path, *command, url=f"{url}/-/ready"):
        with serving(logged.uri, tmp_path, "--workers", "2", settings=settings) as server:
            wait_for(lambda: query(url, 'up{job="melanoma"}') == 1)
            for _ in range(40):
                assert len(client.score_images(server, pictures)) == len(pictures)
            wait_for(lambda: query(url, 'melanoma_requests_total{status="200"}') == 40)
            assert query(url, "sum(melanoma_decisions_total)") == 40 * len(pictures)
            wait_for(lambda: not {"MelanomaServerDown", "MelanomaNoAnswers"} & set(firing(url)))
            assert "MelanomaRefusalsHigh" not in firing(url)
            for _ in range(40):
                assert client.post_images(server, {"a": b"no image"}).status_code == 400
            told = wait_for(lambda: firing(url).get("MelanomaRefusalsHigh"))
            assert re.fullmatch(r"[\d.]+% of the requests are refused\.", told["summary"])
            assert query(url, 'melanoma_refusals_total{reason="not_an_image"}') == 40
            assert "MelanomaServerDown" not in firing(url)
        wait_for(lambda: "MelanomaServerDown" in firing(url))
