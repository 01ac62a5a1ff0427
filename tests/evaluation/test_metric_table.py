import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from melanoma.config.evaluation import Promote
from melanoma.config.tuning import Objective
from melanoma.evaluation import calibration_measures, slices
from melanoma.evaluation.metric_table import BY_NAME, METRICS, TABLE, THRESHOLD_FREE, WEIGHTED
from melanoma.evaluation.metrics import compute_metrics

PUBLISHED = sorted(Path("reports/published").glob("*/metrics.json"))
COUNTS = {
    "num_images",
    "num_groups",
    "num_malignant",
    "restated",
    "three_way",
    "at_operating_point",
    "unlike",
}
CONFUSION = {f"{kind}_{side}" for kind in ("true", "false") for side in ("positives", "negatives")}


def draws(target):
    """Probabilities that are right, wrong and random, for the same targets."""
    generator = np.random.default_rng(0)
    return target * 0.8 + 0.1, 0.9 - target * 0.8, generator.random(len(target))


def measure(target, probability, threshold=0.5):
    once = np.ones((1, len(target)))
    calibration = calibration_measures.measure(target, probability, np.arange(len(target)))
    return compute_metrics(target, probability, threshold=threshold, weights=once) | {
        name: np.array([entry["value"]]) for name, entry in calibration.items()
    }


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_every_metric_of_real_results_is_declared_and_lies_in_its_range(path):
    found = json.loads(path.read_text())
    for model in ("baseline", "tuned"):
        for split in ("validation", "test"):
            measured = found[model][split]
            # results of earlier versions have fewer metrics
            assert set(measured) - COUNTS - CONFUSION <= set(METRICS)
            for metric in TABLE:
                entry = measured.get(metric.name, {})
                for value in (entry.get(name) for name in ("value", "low", "high")):
                    assert value is None or metric.low <= value <= metric.high, metric.name


def test_results_were_published_to_be_held_against_the_table():
    assert PUBLISHED


def test_a_right_classifier_has_the_better_end_of_each_range():
    target = np.repeat([0, 1], 20)
    right, wrong, random = (measure(target, probability) for probability in draws(target))
    for metric in (metric for metric in TABLE if metric.ideal is None):
        sign = 1 if metric.is_higher_better else -1
        for worse in (wrong, random):
            assert sign * right[metric.name][0] > sign * worse[metric.name][0], metric.name
        for found in (right, wrong, random):
            assert metric.low <= found[metric.name][0] <= metric.high, metric.name


def test_calibrated_probabilities_are_near_each_ideal_and_shifted_ones_are_not():
    generator = np.random.default_rng(1)
    probability = generator.uniform(0.05, 0.95, 5_000)
    target = (generator.random(5_000) < probability).astype(int)
    calibrated, flat_and_high = measure(target, probability), measure(target, 0.6 + 0.3 * probability)
    for metric in (metric for metric in TABLE if metric.ideal is not None):
        assert abs(calibrated[metric.name][0] - metric.ideal) < 0.1, metric.name
        assert abs(flat_and_high[metric.name][0] - metric.ideal) > 0.2, metric.name


def test_metrics_are_computed_where_the_table_says():
    found = measure(np.arange(10) % 2, np.linspace(0.1, 0.9, 10))
    assert set(found) == set(METRICS)
    assert set(METRICS) - set(WEIGHTED) == set(calibration_measures.NAMES)


def test_only_metrics_that_need_a_threshold_change_with_it():
    target = np.repeat([0, 1], 20)
    random = draws(target)[2]
    low, high = (measure(target, random, threshold) for threshold in (0.2, 0.8))
    for metric in TABLE:
        assert (low[metric.name] != high[metric.name]).all() == metric.needs_threshold, metric.name


@pytest.mark.parametrize("absent", [0, 1])
def test_a_metric_is_defined_without_a_class_unless_it_needs_it(absent):
    target = np.full(10, 1 - absent)
    found = measure(target, np.linspace(0.1, 0.9, 10))
    for metric in TABLE:
        if ("negative", "positive")[absent] not in metric.needs:
            assert np.isfinite(found[metric.name]).all(), metric.name


def test_metrics_that_the_settings_offer_are_declared_and_higher_is_better():
    offered = {*get_args(Objective), *get_args(Promote.model_fields["primary_metric"].annotation)}
    assert offered <= set(THRESHOLD_FREE)
    assert all(BY_NAME[name].is_higher_better for name in offered)
    assert set(slices.MEASURED) <= set(METRICS)
