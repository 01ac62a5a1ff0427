"""Print the results of the active cohorts and where to look next.

Run by `make demo` after `dvc repro`, or alone. Changes nothing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from melanoma import config, files, project, schema
from melanoma.errors import MelanomaError
from melanoma.evaluation import bootstrap, headline
from pipelines import _cli

PAGE = "index.html"


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table a cohort, from the files of the last run."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    args = parser.parse_args(argv)

    console = Console()
    for cohort in config.load(args.params).run.cohorts:
        found = files.read_json(args.reports / "headlines" / f"{cohort}.json")
        console.print(_metrics_table(found))
        for line in _operating_point(found):
            console.print(line, soft_wrap=True, highlight=False)
        console.print(found["seeds"], soft_wrap=True, highlight=False)
        console.print(_verdict(found["promotion"]), soft_wrap=True)
        if note := _registry_note(found["promotion"]):
            console.print(note, soft_wrap=True, highlight=False)
        _print_next_steps(console, cohort, found["selected"])
    console.print(f"  {'all on one page:':<25}{args.reports / PAGE}", soft_wrap=True, highlight=False)
    return 0


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
    """What was chosen on validation for the selected model, what it did to the test images, warnings."""
    point, answers = found["operating_point"], found["three_way"]
    seen, malignant = point["evidence"], answers["counts"]["malignant"]
    chosen = (
        f"operating point, chosen on validation: malignant from probability {point['threshold']:.3f} on, "
        f"sensitivity there {seen['sensitivity']:.3f} (at least {seen['sensitivity_lower_bound']:.3f}, from "
        f"{seen['num_malignant_groups']} malignant groups), specificity {seen['specificity']:.3f}"
    )
    referred = (
        f"referred to a person from {point['refer_from']:.3f} to {point['refer_to']:.3f}: "
        f"{answers['referred_fraction']['value']:.0%} of the test images; "
        f"{malignant['benign']} of {found['num_malignant']} malignant ones were called benign"
    )
    return [chosen, referred, *(f"warning: {warning}" for warning in seen["warnings"])]


def _verdict(promotion: dict[str, Any]) -> str:
    name = f"{promotion['registered_model']} version {promotion['version']}"
    if promotion["is_promoted"]:
        return f"{name} passed the gates and holds the alias staging."
    return f"{name} was refused: {'; '.join(promotion['reasons'])}."


def _registry_note(promotion: dict[str, Any]) -> str:
    """That the registry says something else than the results, or cannot be asked; empty where they agree.

    Another experiment, a release or a rollback may have moved the alias since: DVC does not see the registry.
    """
    file = project.file_of(project.tracking_uri())
    if file is not None and not file.is_file():
        return f"note: who holds staging now is not known here: there is no tracking store {file}"
    # Here, because MLflow takes seconds to import.
    from melanoma.registry import moves, versions

    name, version = promotion["registered_model"], promotion["version"]
    try:
        holder = moves.holder_of(name, versions.STAGING)
    except MelanomaError as error:
        return f"warning: who holds staging now cannot be asked: {error}"
    if not promotion["is_promoted"] or holder == version:
        return ""
    now = "no version holds" if holder is None else f"version {holder} holds"
    return (
        f"note: {now} staging now, not version {version} of these results: it was moved since, see `python "
        f"-m pipelines.history {name}`. `dvc repro -f -s promote@<cohort>` judges these results again."
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


if __name__ == "__main__":
    sys.exit(_cli.run(main))
