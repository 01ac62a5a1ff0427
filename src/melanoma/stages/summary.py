"""Command `summary`: print the results of the active cohorts and where to look next."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from melanoma import files, project, schema
from melanoma.errors import MelanomaError
from melanoma.evaluation import bootstrap, headline

PAGE = "index.html"


def print_summary(cohorts: Sequence[str], reports: Path) -> None:
    """Print the results of the last run, one table per cohort.

    Args:
        cohorts: Names of the cohorts.
        reports: Folder of reports.
    """
    console = Console()
    for cohort in cohorts:
        found = files.read_json(reports / "headlines" / f"{cohort}.json")
        console.print(_metrics_table(found))
        for line in _operating_point(found):
            console.print(line, soft_wrap=True, highlight=False)
        console.print(found["seeds"], soft_wrap=True, highlight=False)
        console.print(_verdict(found["promotion"]), soft_wrap=True)
        if note := _registry_note(cohort, found["promotion"]):
            console.print(note, soft_wrap=True, highlight=False)
        _print_next_steps(console, cohort, found["selected"])
    console.print(f"  {'all on one page:':<25}{reports / PAGE}", soft_wrap=True, highlight=False)


def _metrics_table(found: dict[str, Any]) -> Table:
    kind = "SYNTHETIC images, not real ones" if found["is_synthetic"] else "real images"
    table = Table(
        title=f"cohort {found['cohort']} ({kind}): test split, {found['num_images']} images, "
        f"{found['num_malignant']} malignant",
        caption="value and 95 % interval, bootstrap over groups; research software, not a medical device",
    )
    table.add_column("", overflow="fold")
    for model in schema.MODEL_NAMES:
        table.add_column(model + (" (selected)" if model == found["selected"] else ""))
    for name in headline.SHOWN:
        cells = [found["metrics"][model][name] for model in schema.MODEL_NAMES]
        table.add_row(name, *map(bootstrap.in_words, cells))
    return table


def _operating_point(found: dict[str, Any]) -> list[str]:
    """The selected model's operating point, its decisions on the test images, and its warnings."""
    point, answers = found["operating_point"], found["three_way"]
    seen, malignant = point["evidence"], answers["counts"]["malignant"]
    chosen = (
        f"threshold between two answers, chosen on validation: {point['threshold']:.3f}, with sensitivity "
        f"{seen['sensitivity']:.3f} (at least {seen['sensitivity_lower_bound']:.3f}, from "
        f"{seen['num_malignant_groups']} malignant groups) and specificity {seen['specificity']:.3f} there"
    )
    referred = (
        f"decision of the served model: benign below {point['refer_from']:.3f}, malignant from "
        f"{point['refer_to']:.3f}, refer in between ({answers['referred_fraction']['value']:.0%} of the test "
        f"images); {malignant['benign']} of {found['num_malignant']} malignant test images are called benign"
    )
    return [chosen, referred, *(f"warning: {warning}" for warning in seen["warnings"])]


def _verdict(promotion: dict[str, Any]) -> str:
    name = f"{promotion['registered_model']} version {promotion['version']}"
    if promotion["is_promoted"]:
        return f"{name} passed the gates and holds the alias staging."
    return f"{name} was refused: {'; '.join(promotion['reasons'])}."


def _registry_note(cohort: str, promotion: dict[str, Any]) -> str:
    """A note where the registry disagrees with the results or cannot be asked, else an empty string.

    Another experiment, a release or a rollback may have moved the alias since: DVC does not see the registry.
    """
    file = project.file_of(project.tracking_uri())
    if file is not None and not file.is_file():
        return f"note: it is not known which version holds staging now: there is no tracking store {file}"
    # Imported here, because importing MLflow takes seconds.
    from melanoma.registry import moves, versions

    name, version = promotion["registered_model"], promotion["version"]
    try:
        holder = moves.holder_of(name, versions.STAGING)
    except MelanomaError as error:
        return f"warning: the registry cannot tell which version holds staging now: {error}"
    if not promotion["is_promoted"] or holder == version:
        return ""
    now = "no version holds" if holder is None else f"version {holder} holds"
    return (
        f"note: {now} staging now, not version {version} of these results: it was moved since, see `python "
        f"-m pipelines.history {name}`. `dvc repro -f -s promote@{cohort}` judges these results again."
    )


def _print_next_steps(console: Console, cohort: str, selected: str) -> None:
    for what, where in (
        ("what the data hold", "reports/data/, copies in reports/duplicates.json"),
        ("what the checks caught", "reports/validation/"),
        ("how images were split", f"reports/{cohort}/split.json"),
        ("all metrics and figures", f"reports/{cohort}/metrics.json, reports/{cohort}/figures/"),
        (
            "where it is worse",
            f"reports/{cohort}/slices.json, reports/{cohort}/figures/{selected}_slices.png",
        ),
        ("errors, where it looks", f"reports/{cohort}/sheets/"),
        ("both networks by seed", f"reports/{cohort}/seeds.json, reports/{cohort}/training/seeds.png"),
        ("compare all runs", "make ui, then http://127.0.0.1:5000"),
        ("serve the model", f"make serve COHORT={cohort}, on port 5001"),
        ("run on real images", "README.md, section 'Real data'"),
    ):
        console.print(f"  {what + ':':<25}{where}", soft_wrap=True, highlight=False)
