"""Print the results of the active cohorts and where to look next.

Run by `make demo` after `dvc repro`, or alone. Changes nothing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from melanoma import config, files, schema
from melanoma.evaluation import bootstrap, seeds
from pipelines import _cli

SHOWN = (
    "auc_roc",
    "partial_auc_above_80_sensitivity",
    "specificity_at_95_sensitivity",
    "average_precision",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "brier_score",
    "expected_calibration_error",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table a cohort, from the files of the last run."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    args = parser.parse_args(argv)

    console = Console()
    for cohort in config.load(args.params).run.cohorts:
        folder = args.reports / cohort
        metrics = files.read_json(folder / "metrics.json")
        console.print(_metrics_table(cohort, metrics))
        models = files.read_json(folder / "models.json")
        for line in _operating_point(metrics, models[metrics["selected"]]["operating_point"]):
            console.print(line, soft_wrap=True, highlight=False)
        console.print(seeds.headline(files.read_json(folder / "seeds.json")), soft_wrap=True, highlight=False)
        console.print(_verdict(files.read_json(folder / "promotion.json")), soft_wrap=True)
        _print_next_steps(console, cohort, metrics["selected"])
    return 0


def _metrics_table(cohort: str, metrics: dict[str, Any]) -> Table:
    kind = "SYNTHETIC images, not real ones" if metrics["is_synthetic"] else "real images"
    test = metrics["baseline"][schema.TEST]
    table = Table(
        title=f"cohort {cohort} ({kind}): test split, {test['num_images']} images, "
        f"{test['num_malignant']} malignant",
        caption="value and 95 % interval, bootstrap over groups; research software, not a medical device",
    )
    table.add_column("", overflow="fold")
    for model in schema.MODEL_NAMES:
        table.add_column(model + (" (selected)" if model == metrics["selected"] else ""))
    for name in SHOWN:
        cells = [metrics[model][schema.TEST][name] for model in schema.MODEL_NAMES]
        table.add_row(name, *map(bootstrap.in_words, cells))
    return table


def _operating_point(metrics: dict[str, Any], point: dict[str, Any]) -> list[str]:
    """What was chosen on validation for the selected model, what it did to the test images, warnings."""
    seen, on_test = point["evidence"], metrics[metrics["selected"]][schema.TEST]
    malignant = on_test["three_way"]["counts"]["malignant"]
    chosen = (
        f"operating point, chosen on validation: malignant from probability {point['threshold']:.3f} on, "
        f"sensitivity there {seen['sensitivity']:.3f} (at least {seen['sensitivity_lower_bound']:.3f}, from "
        f"{seen['num_malignant_groups']} malignant groups), specificity {seen['specificity']:.3f}"
    )
    referred = (
        f"referred to a person from {point['refer_from']:.3f} to {point['refer_to']:.3f}: "
        f"{on_test['three_way']['referred_fraction']['value']:.0%} of the test images; "
        f"{malignant['benign']} of {on_test['num_malignant']} malignant ones were called benign"
    )
    return [chosen, referred, *(f"warning: {warning}" for warning in seen["warnings"])]


def _verdict(promotion: dict[str, Any]) -> str:
    name = f"{promotion['registered_model']} version {promotion['version']}"
    if promotion["is_promoted"]:
        return f"{name} passed the gates and holds the alias staging."
    return f"{name} was refused: {'; '.join(promotion['reasons'])}."


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
        ("baseline and tuned by seed", f"reports/{cohort}/seeds.json, reports/{cohort}/training/seeds.png"),
        ("compare all runs", "make ui, then http://127.0.0.1:5000"),
        ("serve the model", f"make serve COHORT={cohort}, on port 5001"),
        ("run on real images", "README.md, section 'The real run'"),
    ):
        console.print(f"  {what + ':':<25}{where}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(_cli.run(main))
