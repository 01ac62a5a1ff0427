"""What the script `compare` does: reads result files, writes tables and pictures with their captions."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from melanoma import files
from melanoma.config.study import Compare
from melanoma.schema import NOT_A_DEVICE
from melanoma.study import pictures as study_pictures
from melanoma.study import tables as study_tables
from melanoma.study import words as study_words
from melanoma.study.results import MAIN_NETWORK
from melanoma.study.tables import Results

PAPER = "paper.json"
INTERVALS = "Brackets: 95 % intervals over groups of test images and over networks, not over splits. "
BRACKETED = ("table_1", "table_2", "table_3", "protocols", "against_three_blocks")
Captions = dict[str, dict[str, str]]


def read_published(folder: Path) -> dict[str, Any]:
    """What the stage `paper` wrote.

    Raises:
        DataError: It is missing, or of another shape.
    """
    checked = files.read_json(folder / PAPER)
    with files.expect_schema(folder / PAPER):
        study_words.page(checked, {})
    return checked


def read_results(folder: Path, checked: dict[str, Any]) -> Results:
    """By cohort, those of the paper first.

    Args:
        folder: Of the result files.
        checked: As `read_published` gives it.

    Raises:
        DataError: A result file is none, or of another shape.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        if path.name != PAPER:
            result = files.read_json(path)
            with files.expect_schema(path):
                found[str(result["cohort"])] = result
                study_words.page(checked, {str(result["cohort"]): result})
    return {cohort: found[cohort] for cohort in study_tables.ordered(found)}


def write_tables(checked: dict[str, Any], results: Results, folder: Path) -> Captions:
    """Every table as CSV; their captions."""
    published = checked["published"]
    tables = {
        "table_1": (
            study_tables.table_1(published, results),
            "Table I: PH2 by number of convolutional layers, as printed and as measured on test images.",
        ),
        "table_2": (
            study_tables.table_2(published, results),
            "Table II: three layers on each dataset, as printed and as measured on test images.",
        ),
        "table_3": (
            study_tables.table_3(published, results),
            "Table III: three blocks and VGG-16 on ISIC, as printed and as measured on test images.",
        ),
        "protocols": (
            study_tables.protocols(results),
            "What the protocol adds: the same networks on each test, and differences with intervals.",
        ),
        "validation": (
            study_tables.validation(results),
            (
                "Which epoch of each network was kept by the validation side, and its AUC there and on test. "
                "The choice flatters the first; under the paper's protocol validation holds relatives of "
                "training images."
            ),
        ),
        "against_three_blocks": (
            study_tables.against_main(results),
            "Other networks less the published one on the same test images: paired differences.",
        ),
        "confusion": (
            study_tables.confusion(published, results),
            (
                "Confusion matrices: as printed, and of our network of the first seed, malignant from 0.5 "
                "on. Table II has the mean of all networks."
            ),
        ),
        "images": (
            study_tables.images(results),
            "Images of each side under each protocol; a copy is a warped image that was made to balance.",
        ),
        "contradictions": (
            study_tables.contradictions(checked),
            "Printed figures beside what follows from other printed figures of the same paper.",
        ),
    }
    captions = {}
    for name, (table, caption) in tables.items():
        if len(table):
            files.write_csv(table, folder / f"{name}.csv")
            said = f"{caption} {INTERVALS if name in BRACKETED else ''}{NOT_A_DEVICE.capitalize()}."
            captions[f"{name}.csv"] = {"caption": said, "alt": said}
    return captions


def write_pictures(
    checked: dict[str, Any], results: Results, source: Path, folder: Path, settings: Compare
) -> Captions:
    """ROC curves and epochs of the published network on each cohort, and Table I as a picture."""
    captions: Captions = {}

    def save(name: str, figure: Figure, caption: str, alt: str) -> None:
        figure.savefig(folder / name, dpi=settings.dots_per_inch)
        captions[name] = {"caption": caption, "alt": alt}

    for cohort, result in results.items():
        entry = result["networks"].get(MAIN_NETWORK)
        if entry is None:
            continue
        note = f"cohort {cohort}" + (": SYNTHETIC images" if result["is_synthetic"] else "")
        figure = study_pictures.roc_figure(
            _of_main(source / f"{cohort}_roc.csv"), entry, title=f"ROC, three blocks, {cohort}", note=note
        )
        caption = f"ROC curves of the three-block network on {cohort} under both protocols, a line a seed."
        areas = study_tables.protocols({cohort: result})
        areas = areas[areas["network"] == MAIN_NETWORK]
        said = "; ".join(f"{row['tested on']}: AUC {row['AUC']}" for row in areas.to_dict("records"))
        save(f"roc_{cohort}.png", figure, caption, f"{caption} {said}.")
        figure = study_pictures.history_figure(
            _of_main(source / f"{cohort}_history.csv"), title=f"Epochs, three blocks, {cohort}", note=note
        )
        caption = (
            f"Accuracy and loss by epoch of the three-block network on {cohort}, both protocols. Classes "
            "weigh as in training, equally by default (params.yaml: train.balance_classes), so these are not "
            "the accuracy and the loss of the tables."
        )
        save(f"epochs_{cohort}.png", figure, caption, f"{caption} Dotted: training, solid: validation.")
    if "ph2" in results:
        table = checked["published"]["table_1"]
        figure = study_pictures.depth_figure(
            table, results["ph2"]["networks"], title="PH2 by number of layers", note="cohort ph2, test images"
        )
        caption = "Table I as a picture: metrics by number of layers, printed and ours with 95 % intervals."
        save("depth_ph2.png", figure, caption, f"{caption} The numbers stand in Table I.")
    return captions


def _of_main(path: Path) -> pd.DataFrame:
    """The rows of the published network."""
    rows = files.read_csv(path)
    with files.expect_schema(path):
        return rows[rows["network"] == MAIN_NETWORK]
