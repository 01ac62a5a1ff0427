"""How soon a colour cast of a camera is found, by the image facts of real and synthetic images.

A history draws lesions of a dataset without replacement into a reference and 12 windows. In all windows the
red channel is multiplied by 1 + cast and the blue one by 1 - cast. Facts are measured by `scoring.quality`,
as a server does. HAM10000 is read from MELANOMA_REAL_DATA (default ../shared/data) and left out where it is
missing. Histories share the images of a dataset, so intervals are those of the draws.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from melanoma import config
from melanoma.data.images import load_square, read_bytes
from melanoma.data.sources import sample
from melanoma.evaluation.unlike import image_bounds
from tests.simulations.rows import Row
from tests.simulations.shift import (
    NUM_REFERENCE,
    NUM_WINDOW,
    NUM_WINDOWS,
    RULES_WITH_DELAY,
    Images,
    delay_row,
    first_alarm,
)

ROOT = Path(__file__).resolve().parents[2]
REAL = (ROOT / os.environ.get("MELANOMA_REAL_DATA", "../shared/data")).resolve() / "ham10000" / "images"
CASTS = (0.02, 0.05, 0.1, 0.01, 0.0)  # the first one is in the excerpt
IMAGE_SIZE = 128  # pixels
NUM_LESIONS = 1_000  # of each dataset, one image each
MAX_HISTORIES = 100


@dataclass(frozen=True)
class Lesions:
    """Image facts of a dataset, one row per lesion.

    Attributes:
        name: Name for the table.
        by_cast: Facts for each of `CASTS`, with the same lesions in the same order.
    """

    name: str
    by_cast: dict[float, pd.DataFrame]

    def history(self, cast: float, seeds: tuple[int, ...]) -> tuple[Images, Sequence[Images]]:
        """A reference without a cast, and windows with it; the same seeds draw the same lesions."""
        drawn = np.random.default_rng(seeds).permutation(len(self.by_cast[cast]))
        parts = np.split(drawn, NUM_REFERENCE + NUM_WINDOW * np.arange(NUM_WINDOWS + 1))
        reference = Images(self.by_cast[0.0].iloc[parts[0]], parts[0])
        return reference, [Images(self.by_cast[cast].iloc[rows], rows) for rows in parts[1:-1]]


@threadpool_limits.wrap(limits=1)
def simulate(num: int, seed: int) -> list[Row]:
    """Windows until the alarm, one row per dataset and cast; at most `MAX_HISTORIES` histories each."""
    seeds = [(seed, at) for at in range(min(num, MAX_HISTORIES))]
    return [
        cast_row(np.array([cast_alarms(lesions, cast, each) for each in seeds]), lesions, cast)
        for lesions in datasets()
        for cast in CASTS
    ]


def cast_alarms(lesions: Lesions, cast: float, seeds: tuple[int, ...]) -> list[float]:
    """`first_alarm` of `RULES_WITH_DELAY` in a history with a cast."""
    return [first_alarm(rule, *lesions.history(cast, seeds)) for rule in RULES_WITH_DELAY]


def cast_row(found: np.ndarray, lesions: Lesions, cast: float) -> Row:
    """The row of a dataset and a cast; `found` are results of `cast_alarms`."""
    if not cast:
        return delay_row(found, f"no cast: {lesions.name}", nominal="never")
    return delay_row(found, f"red cast of {cast:.0%}: {lesions.name}")


@cache
def datasets() -> tuple[Lesions, ...]:
    """HAM10000 if it is there, and synthetic images."""
    real = sorted(REAL.glob("*.jpg"))
    found = [] if not real else [_measure(f"{min(NUM_LESIONS, len(real))} HAM10000 lesions", real)]
    with tempfile.TemporaryDirectory() as folder:
        sample.generate(
            Path(folder),
            seed=20,
            num_lesions=NUM_LESIONS,
            num_second_views=0,
            malignant_fraction=0.6,
            malignant_disorder=1.8,
            image_size=IMAGE_SIZE,
        )
        paths = sorted(Path(folder, "images").glob("*.jpg"))
        return (*found, _measure(f"{NUM_LESIONS} synthetic lesions", paths))


def _measure(name: str, paths: list[Path]) -> Lesions:
    params = config.load(ROOT / "params.yaml")
    bounds = image_bounds(params.checks, params.inspect, size=IMAGE_SIZE, sharpness_ratio=1)
    squares = [load_square(read_bytes(path), IMAGE_SIZE) for path in paths[:NUM_LESIONS]]
    facts = {cast: pd.DataFrame([bounds.facts(tinted(square, cast)) for square in squares]) for cast in CASTS}
    return Lesions(name, facts)


def tinted(square: np.ndarray, cast: float) -> np.ndarray:
    """The image with a red cast: uint8, shape `(size, size, 3)`, as `square`."""
    gains = np.array((1 + cast, 1, 1 - cast))
    return np.clip(np.rint(square * gains), 0, 255).astype(np.uint8)
