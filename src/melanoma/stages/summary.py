"""Command `summary`: print the results of the active cohorts and where to look next."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from melanoma import files, project, schema
from melanoma.errors import MelanomaError
from melanoma.evaluation import bootstrap, headline, metric_table

PAGE = "index.html"
SAME_NETWORK = (
    "The tuned network equals the baseline. More trials may find a better one: `dvc exp run -S "
    "tune.num_trials=20`."
)


def print_summary(cohorts: Sequence[str], reports: Path) -> None:
    """Print the results of the last run, one table per cohort, and the next commands.

    Args:
        cohorts: Names of the cohorts.
        reports: Folder of reports.
    """
    console = Console(highlight=False)
    all_found = [files.read_json(reports / "headlines" / f"{cohort}.json") for cohort in cohorts]
    for found in all_found:
        console.print(_metrics_table(found))
        for line in _findings(found):
            console.print(line, soft_wrap=True)
        console.print()
    console.print("Next:")
    for command, what in _next_commands(all_found, reports):
        console.print(f"  {command:<26}{what}", soft_wrap=True)


def _metrics_table(found: dict[str, Any]) -> Table:
    kind = "SYNTHETIC images, not real ones" if found["is_synthetic"] else "real images"
    table = Table(
        title=f"cohort {found['cohort']} ({kind})\n"
        f"test set: {found['num_images']} images, {found['num_malignant']} positive",
        caption=f"value and 95 % interval; {schema.NOT_A_DEVICE}",
    )
    table.add_column("", overflow="fold")
    for model in schema.MODEL_NAMES:
        table.add_column(model + (" (selected)" if model == found["selected"] else ""))
    for metric, entries in headline.metric_rows(found, metric_table.SUMMARY):
        table.add_row(metric.label, *map(bootstrap.in_words, entries))
    return table


def _findings(found: dict[str, Any]) -> list[str]:
    """What the table does not say, in sentences."""
    note = _registry_note(found["cohort"], found["promotion"])
    return [
        *([f"Hyperparameter search: {found['search']}."] if "search" in found else []),
        *([SAME_NETWORK] if found.get("same_hyperparameters") else []),
        f"The selected model is the {found['selected']} network. {headline.decisions(found)}",
        *(f"warning: {warning}" for warning in found["operating_point"]["evidence"]["warnings"]),
        headline.verdict(found["promotion"]),
        *([note] if note else []),
    ]


def _registry_note(cohort: str, promotion: dict[str, Any]) -> str:
    """A note where the registry disagrees with the results or cannot be asked, else an empty string.

    Another experiment, a release or a rollback may have moved the alias since: DVC does not see the registry.
    """
    file = project.file_of(project.tracking_uri())
    if file is not None and not file.is_file():
        return f"note: it is not known which version has staging now: there is no tracking store {file}"
    # Imported here, because importing MLflow takes seconds.
    from melanoma.registry import moves, versions

    name, judged = promotion["registered_model"], promotion["staging_version"]
    try:
        holder = moves.holder_of(name, versions.STAGING)
    except MelanomaError as error:
        return f"warning: the registry cannot tell which version has staging now: {error}"
    if holder == judged:
        return ""
    now, then = ("no version" if number is None else f"version {number}" for number in (holder, judged))
    return (
        f"note: {now} has staging now, and {then} had it when these results were judged: see `python -m "
        f"pipelines.history {name}`. `dvc repro -f -s promote@{cohort}` judges them again."
    )


def _next_commands(all_found: Sequence[dict[str, Any]], reports: Path) -> list[tuple[str, str]]:
    """Three commands and what they do."""
    promoted = [found["cohort"] for found in all_found if found["promotion"]["is_promoted"]]
    refused = f"python -m pipelines.history {all_found[0]['promotion']['registered_model']}"
    serve = f"make serve COHORT={promoted[0]}" if promoted else ""
    return [
        ("make ui", "compare all runs in the browser"),
        (serve, "serve the model, on port 5001") if serve else (refused, "why no model was promoted"),
        (str(reports / PAGE), "all results on one page: open it in a browser"),
    ]
