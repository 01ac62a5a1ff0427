"""Read the metrics of a server, as Prometheus does."""

import time
from collections.abc import Callable

import requests

Series = dict[str, float]
WAIT_SECONDS = 60


def scrape(port: int) -> Series:
    """The value of each series by its name and labels."""
    response = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert response.ok
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def scrape_until(port: int, is_enough: Callable[[Series], bool]) -> Series:
    """The first scrape that is enough; load and records are sampled once a second."""
    deadline, found = time.monotonic() + WAIT_SECONDS, Series()
    while time.monotonic() < deadline:
        try:
            found = scrape(port)
        except requests.ConnectionError:  # nobody serves them yet, or at this moment
            found = {}
        if found and is_enough(found):
            return found
        time.sleep(0.2)
    raise AssertionError(f"not in {WAIT_SECONDS} s: {found}")


def changed(before: Series, after: Series) -> Series:
    """How much each counter grew, without the buckets of histograms; only those that did."""
    grown = {name: value - before.get(name, 0.0) for name, value in after.items() if "_bucket" not in name}
    return {name: value for name, value in grown.items() if value and ("_total" in name or "_count" in name)}
