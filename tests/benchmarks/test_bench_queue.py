import pandas as pd
import pytest

from tests.benchmarks import bench_queue
from tests.benchmarks.bench_queue import BAND, NUM_A_ROUND, NUM_FIRST, QUEUE, RANDOM, UNLIKE


def test_each_way_labels_the_same_number_of_new_images():
    images = bench_queue.drawn_images(400)
    curves = bench_queue.measure(images, num_repetitions=2, num_rounds=1)
    counts = [NUM_FIRST, NUM_FIRST + NUM_A_ROUND]
    for way in (RANDOM, QUEUE, UNLIKE):
        assert curves.loc[curves["way"] == way, "num_labels"].tolist() == 2 * counts
    assert curves["auc"].between(0, 1).all()
    first = curves[curves["num_labels"] == NUM_FIRST].pivot_table(
        index="repetition", columns="way", values="auc"
    )
    assert (first.max(axis=1) == first.min(axis=1)).all()


def test_the_interval_is_that_of_paired_differences():
    auc = {RANDOM: [0.5, 0.7], QUEUE: [0.6, 0.9], BAND: [0.5, 0.7], UNLIKE: [0.5, 0.7]}
    curves = pd.DataFrame(
        [(way, number, 100, 5, one) for way, values in auc.items() for number, one in enumerate(values)],
        columns=["way", "repetition", "num_labels", "num_positive", "auc"],
    )
    (row,) = bench_queue.summarise(curves).to_dict("records")
    assert (row[QUEUE], row["queue - random"], row["refer band - random"]) == (0.75, 0.15, 0)
    half = 0.05 * 12.706  # standard error of 0.1 and 0.2, times the quantile for two repetitions
    assert (row["queue low"], row["queue high"]) == pytest.approx((0.15 - half, 0.15 + half), abs=1e-3)
