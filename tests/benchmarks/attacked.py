"""What good requests meet while a server is attacked: rows of `bench_serve`."""

import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

import numpy as np

from tests.benchmarks.rows import Row, Spread, ratios
from tests.serving import attacks
from tests.serving.attacks import MEBIBYTE, Victim

MOST_TIMES, MOST_MILLISECONDS = 3, 500  # the p99 meanwhile is the usual one times so many, or this at most


def rows(
    target: Victim,
    picture: bytes,
    probability: float,
    *,
    usual_seconds: float,
    num_attacks: int,
    num_uploads: int,
) -> list[Row]:
    """The p99 of good requests without an attack and during each.

    Args:
        target: The server.
        picture: What good requests ask for.
        probability: The right answer.
        usual_seconds: How long is measured without an attack.
        num_attacks: Number of kinds of attacks, of the six.
        num_uploads: Uploads that are cut off at once.

    Raises:
        AssertionError: A good request was answered wrongly, or not at all.
    """
    usual = _p99(target, picture, probability, lambda: time.sleep(usual_seconds))
    allowed = max(MOST_TIMES * usual, MOST_MILLISECONDS)
    found = [Row("attacks", "p99 of one JPEG, one after the other", "ms", Spread.of([usual]))]
    for name, attack in list(_attacks(target, num_uploads).items())[:num_attacks]:
        before = target.memory()
        met = _p99(target, picture, probability, attack)
        ratio = ratios([met], [allowed], to="what is allowed", at_most=1)
        grown = f"memory {(target.memory() - before) / MEBIBYTE:+.0f} MiB"
        found.append(Row("attacks", f"p99 during {name}", "ms", Spread.of([met]), ratio, grown))
    return found


def _attacks(target: Victim, num_uploads: int) -> dict[str, Callable[[], object]]:
    hostile = {
        "6 JPEGs of 3,000 scans": (6, [attacks.jpeg_of_scans(3000)]),
        "6 BMPs of run lengths": (6, [attacks.run_length_bmp(5000)]),
        "2 requests of 256 WebPs of 64 megapixels": (2, [attacks.webp_of_38_bytes()] * 256),
        "6 requests of 10 legal WebPs of 10 megapixels": (6, [attacks.slow_picture()] * 10),
    }
    found: dict[str, Callable[[], object]] = {
        name: partial(attacks.at_once, num, partial(attacks.post, target, *images))
        for name, (num, images) in hostile.items()
    }
    upload = partial(attacks.cut_off_upload, target, length=80_000_000, sent=79_000_000)
    found[f"{num_uploads} uploads of 80 MB that are cut off"] = partial(attacks.at_once, num_uploads, upload)
    found["a chunked body of 3 GB"] = partial(attacks.endless_chunks, target, most=3 * 2**30)
    return found


def _p99(target: Victim, picture: bytes, probability: float, attack: Callable[[], object]) -> float:
    """In ms; answers 503 count like others."""
    with attacks.watched(target, picture, probability) as seen:
        attack()
        time.sleep(0.5)
    met = set(seen.statuses)
    if not met <= {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}:
        raise AssertionError(f"good requests met {sorted(met)}")
    return 1000 * float(np.percentile(seen.seconds, 99))
