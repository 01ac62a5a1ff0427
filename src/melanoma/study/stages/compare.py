"""Stage `compare`: the published tables beside ours, with figures and a page of text."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from melanoma import files
from melanoma.schema import NOT_A_DEVICE
from melanoma.study import comparison_figures, comparison_tables, comparison_text, report_folder
from melanoma.study.comparison_tables import Results
from melanoma.study.protocol_results import MAIN_NETWORK

PAPER = "paper.json"
INTERVALS = "Brackets: 95 % intervals over groups of test images, not over other seeds or splits."
WITH_INTERVALS = ("table_1", "table_2", "table_3", "protocols", "against_three_blocks")
TABLE_CAPTIONS = {
    "table_1": "Table I: PH2 by number of convolutional layers, as printed and as measured on the test set.",
    "table_2": "Table II: three layers on each dataset, as printed and as measured on the test set.",
    "table_3": "Table III: three blocks and VGG-16 on ISIC, as printed and as measured on the test set.",
    "protocols": "Effect of the protocol: the same networks on each test set, and differences with "
    "intervals.",
    "validation": (
        "The epoch of each network that the validation set selected, and its AUC on the validation and test "
        "sets. The selection makes the former an overestimate; under the paper's protocol the validation set "
        "contains relatives of training images."
    ),
    "against_three_blocks": "Other networks minus the published one on the same test images: paired "
    "differences.",
    "confusion": (
        "Confusion matrices: as printed, and of our network of the first seed at the threshold 0.5. Table II "
        "contains the mean over all networks."
    ),
    "images": "Images of each split under each protocol; a copy is a warped image that was added to balance.",
    "contradictions": "Printed figures beside what follows from other printed figures of the same paper.",
}


def run(results_folder: Path, out: Path, *, dots_per_inch: int) -> tuple[list[str], int]:
    """Write tables, figures, their captions and `page.md` to one folder.

    Args:
        results_folder: The output of the stages `paper` and `protocols`.
        out: Folder to write.
        dots_per_inch: Resolution of the figures.

    Returns:
        The cohorts with results, and the number of tables and figures.

    Raises:
        DataError: A result file is missing or has another form.
    """
    checked = _read_paper(results_folder)
    results = _read_results(results_folder, checked)
    tables = _tables(checked, results)
    captions = {f"{name}.csv": _table_caption(name) for name in tables}
    figures: dict[str, Figure] = {}
    for name, (figure, caption, alt) in _figures(checked, results, results_folder).items():
        figures[name] = figure
        captions[name] = {"caption": caption, "alt": f"{caption} {alt}"}
    report_folder.write(
        out,
        tables={f"{name}.csv": table for name, table in tables.items()},
        figures=figures,
        captions=captions,
        documents={"page.md": comparison_text.page(checked, results)},
        dots_per_inch=dots_per_inch,
    )
    return list(results), len(captions)


def _read_paper(folder: Path) -> dict[str, Any]:
    checked = files.read_json(folder / PAPER)
    with files.expect_schema(folder / PAPER):
        comparison_text.page(checked, {})
    return checked


def _read_results(folder: Path, checked: dict[str, Any]) -> Results:
    """Results by cohort, those of the paper first; each must be complete enough to be put into words."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        if path.name != PAPER:
            result = files.read_json(path)
            with files.expect_schema(path):
                found[str(result["cohort"])] = result
                comparison_text.page(checked, {str(result["cohort"]): result})
    return {cohort: found[cohort] for cohort in comparison_tables.ordered(found)}


def _tables(checked: dict[str, Any], results: Results) -> dict[str, pd.DataFrame]:
    """The tables by name, without empty ones."""
    published = checked["published"]
    tables = {
        "table_1": comparison_tables.table_1(published, results),
        "table_2": comparison_tables.table_2(published, results),
        "table_3": comparison_tables.table_3(published, results),
        "protocols": comparison_tables.protocols(results),
        "validation": comparison_tables.validation(results),
        "against_three_blocks": comparison_tables.against_main(results),
        "confusion": comparison_tables.confusion(published, results),
        "images": comparison_tables.images(results),
        "contradictions": comparison_tables.contradictions(checked),
    }
    return {name: table for name, table in tables.items() if len(table)}


def _table_caption(name: str) -> dict[str, str]:
    parts = [TABLE_CAPTIONS[name], *([INTERVALS] if name in WITH_INTERVALS else [])]
    caption = " ".join([*parts, f"{NOT_A_DEVICE.capitalize()}."])
    return {"caption": caption, "alt": caption}


def _figures(checked: dict[str, Any], results: Results, folder: Path) -> dict[str, tuple[Figure, str, str]]:
    """Figures with caption and alternative text, by file name."""
    found: dict[str, tuple[Figure, str, str]] = {}
    for cohort, result in results.items():
        if MAIN_NETWORK in result["networks"]:
            found[f"roc_{cohort}.png"] = _roc(cohort, result, folder)
            found[f"epochs_{cohort}.png"] = _epochs(cohort, result, folder)
    if "ph2" in results:
        figure = comparison_figures.depth_figure(
            checked["published"]["table_1"],
            results["ph2"]["networks"],
            title="PH2 by number of layers",
            note=_note("ph2", results["ph2"]),
        )
        caption = "Table I as a figure: metrics by number of layers, as printed and ours with 95 % intervals."
        found["depth_ph2.png"] = (figure, caption, "See Table I for the numbers.")
    return found


def _roc(cohort: str, result: dict[str, Any], folder: Path) -> tuple[Figure, str, str]:
    figure = comparison_figures.roc_figure(
        _main_rows(folder / f"{cohort}_roc.csv"),
        result["networks"][MAIN_NETWORK],
        title=f"ROC, three blocks, {cohort}",
        note=_note(cohort, result),
    )
    caption = f"ROC curves of the three-block network on {cohort} under both protocols, one line per seed."
    return figure, caption, f"{_areas(cohort, result)}."


def _epochs(cohort: str, result: dict[str, Any], folder: Path) -> tuple[Figure, str, str]:
    figure = comparison_figures.history_figure(
        _main_rows(folder / f"{cohort}_history.csv"),
        title=f"Epochs, three blocks, {cohort}",
        note=_note(cohort, result),
    )
    caption = (
        f"Accuracy and loss by epoch of the three-block network on {cohort}, both protocols. Classes are "
        "weighted as in training, equally by default (params.yaml: baseline.sampling_power), so these are "
        "not the accuracy and the loss of the tables."
    )
    return figure, caption, "Dotted: training, solid: validation."


def _note(cohort: str, result: dict[str, Any]) -> str:
    return f"cohort {cohort}" + (": SYNTHETIC images" if result["is_synthetic"] else "")


def _areas(cohort: str, result: dict[str, Any]) -> str:
    """The AUC on each test set, in words."""
    table = comparison_tables.protocols({cohort: result})
    rows = table[table["network"] == MAIN_NETWORK].to_dict("records")
    return "; ".join(f"{row['tested on']}: AUC {row['AUC']}" for row in rows)


def _main_rows(path: Path) -> pd.DataFrame:
    """The rows of the published network."""
    rows = files.read_csv(path)
    with files.expect_schema(path):
        return rows[rows["network"] == MAIN_NETWORK]
