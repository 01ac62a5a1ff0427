"""Notes and saved views of the experiments in MLflow's pages, see `tracking_views`."""

import sys
from collections.abc import Mapping
from typing import Any

from melanoma import tracking, tracking_views
from melanoma.errors import TrackingError


def present_experiments() -> list[Any]:
    """Bring notes and saved views of MLflow's experiments up to date.

    Returns:
        Those experiments that have runs; the others are left as they are.
    """
    store = tracking.client()
    found = []
    with tracking.explain_errors("its experiments were listed"):
        for experiment in store.search_experiments(order_by=["name ASC"]):
            if store.search_runs([experiment.experiment_id], max_results=1):
                set_tags(experiment, tracking_views.missing_tags(experiment.name, experiment.tags))
                found.append(experiment)
    return found


def set_tags(experiment: Any, tags: Mapping[str, str]) -> None:
    """Set tags of an experiment. A store that refuses loses only notes and views, so this is a warning."""
    store = tracking.client()
    try:
        with tracking.explain_errors(f"notes and saved views of {experiment.name} were written"):
            for key, value in tags.items():
                store.set_experiment_tag(experiment.experiment_id, key, value)
    except TrackingError as error:
        print(f"warning: {error}", file=sys.stderr)
