"""Command `ui`: start MLflow's server for the local store and print the addresses that are worth opening."""

import os
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from melanoma import metric_names, project, schema, tracking, tracking_views
from melanoma.errors import TrackingError
from melanoma.stages import needs, ports, presentation
from melanoma.stages.console import say

MAX_PARAMS = 6  # columns of a comparison besides the scores
START_SECONDS = 120.0  # MLflow takes about ten on an idle machine
NO_RUNS = "There are no runs yet. Run `make demo` first."


@dataclass(frozen=True)
class Link:
    """A page worth opening.

    Attributes:
        title: What it shows.
        address: Address of the page.
    """

    title: str
    address: str


def open_pages(port: int, *, is_browser_opened: bool) -> None:
    """Print the pages of the tracking store; start `mlflow ui` if the store is not a server, until Ctrl-C.

    Args:
        port: Port of `mlflow ui`.
        is_browser_opened: Whether to open the first page, where there is a display.

    Raises:
        TrackingError: There are no runs, or the store does not answer.
        DataError: The port is in use.
    """
    uri = project.tracking_uri()
    is_server = uri.startswith(("http://", "https://"))
    server = uri.rstrip("/") if is_server else f"http://{ports.LOCAL}:{port}"
    links = find_links(server)
    if is_server:
        _show(links, is_browser_opened)
        return
    needs.require_free_port(port, "make ui UI_PORT=")
    options = f"--host {ports.LOCAL} --port {port} --workers 1 --backend-store-uri".split()
    command = [sys.executable, "-m", "mlflow", "ui", *options, uri, "--uvicorn-opts", "--log-level warning"]
    say("ui", f"starting MLflow on {server}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # or the server would go on alone
    with subprocess.Popen(command, cwd=project.project_top()) as process:
        try:
            _wait_for(server, process)
            _show(links, is_browser_opened)
            say("ui", "press Ctrl-C to stop")
            process.wait()
        except KeyboardInterrupt:
            say("ui", "stopped")
        finally:
            process.terminate()


def find_links(server: str) -> list[Link]:
    """Pages of all experiments with runs, then comparisons; notes and saved views are brought up to date.

    Args:
        server: Address of the MLflow server that will show them, without a slash at the end.

    Raises:
        TrackingError: There are no runs, or the store does not answer.
    """
    needs.require_store()
    with tracking.explain_errors("its runs were listed"):
        found = presentation.present_experiments()
        if not found:
            raise TrackingError(NO_RUNS)
        # Results first: experiments of cohorts, then the others.
        found.sort(key=lambda experiment: not tracking_views.is_of_cohort(experiment.name))
        pages = [
            Link(experiment.name, tracking_views.runs_page(server, experiment.experiment_id))
            for experiment in found
        ]
        comparisons = [
            link
            for experiment in found
            if tracking_views.is_of_cohort(experiment.name)
            for link in _comparisons(server, experiment)
        ]
        return [*pages, *comparisons, *_models(server)]


def _comparisons(server: str, experiment: Any) -> Iterator[Link]:
    """Views of baseline and tuned, baseline and best trial, and the two best trials of the last search."""
    number = experiment.experiment_id
    baseline, tuned = (_newest_runs(number, name) for name in schema.MODEL_NAMES)
    pairs = {"baseline and tuned": [*baseline[:1], *tuned[:1]]}
    if baseline and (search := baseline[0].data.tags.get("tuning_run_id")):
        best = _best_trials(number, search)
        pairs |= {"baseline and best trial": [*baseline[:1], *best[:1]], "two best trials": best[:2]}
    for title, runs in pairs.items():
        if len(runs) == 2:
            ids, params = [run.info.run_id for run in runs], _differing_params(*runs)
            tags = tracking_views.comparison_tags(title, ids, params, experiment.tags)
            presentation.set_tags(experiment, tags)
            view = tracking_views.comparison_key(title)
            yield Link(f"{experiment.name}: {title}", tracking_views.runs_page(server, number, view))


def _differing_params(one: Any, other: Any) -> list[str]:
    """Names of parameters with different values, hyperparameters first."""
    first, second = one.data.params, other.data.params
    names = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]
    return sorted(names, key=lambda name: ("." in name, name))[:MAX_PARAMS]


def _newest_runs(experiment_id: str, name: str) -> list[Any]:
    """Finished runs of a name, newest first."""
    query = f"attributes.run_name = '{name}' and attributes.status = 'FINISHED'"
    return list(tracking.client().search_runs([experiment_id], query, order_by=["start_time DESC"]))


def _best_trials(experiment_id: str, search: str) -> list[Any]:
    """Completed trials of a search, best first, without older runs that have other metric names."""
    query = f"tags.`{tracking.PARENT_TAG}` = '{search}' and tags.state = 'complete'"
    store = tracking.client()
    objective = f"{metric_names.SELECTION}/{store.get_run(search).data.tags.get('objective')}"
    found = store.search_runs([experiment_id], query, order_by=[f"{tracking_views.metric(objective)} DESC"])
    return [run for run in found if objective in run.data.metrics]


def _models(server: str) -> Iterator[Link]:
    """The two newest versions of each registered model, or its page if they are of one run."""
    store = tracking.client()
    for model in store.search_registered_models():
        found = store.search_model_versions(f"name = '{model.name}'")
        newest = sorted(found, key=lambda version: int(version.version))[-2:]
        versions = {str(version.version): version.run_id for version in newest}
        if len(set(versions.values())) == 2:  # MLflow compares the runs behind versions
            title = f"{model.name}: versions {' and '.join(versions)}"
            yield Link(title, tracking_views.version_comparison_page(server, model.name, versions))
        else:
            yield Link(f"{model.name}: versions", tracking_views.model_page(server, model.name))


def _show(links: list[Link], is_browser_opened: bool) -> None:
    for link in links:
        say("ui", f"{link.title}\n     {link.address}")
    has_display = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if is_browser_opened and has_display:
        webbrowser.open(links[0].address)


def _wait_for(server: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TrackingError("`mlflow ui` ended at its start; the lines above say why.")
        try:
            if requests.get(f"{server}/health", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    raise TrackingError(f"`mlflow ui` did not answer at {server} in {START_SECONDS:g} seconds.")
