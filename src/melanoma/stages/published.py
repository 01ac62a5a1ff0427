"""Draws the page and the tables of the documents from the published files, and from nothing else."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from melanoma import files, lineage
from melanoma.config import Params
from melanoma.errors import DataError
from melanoma.evaluation import crossvalidation
from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.headline import verdict_word
from melanoma.markdown import markdown
from melanoma.page.render import Origin, render
from melanoma.project import working_tree
from melanoma.schema import MODEL_NAMES, REFERENCE_NAMES
from melanoma.stages.page import collect, read_headlines

ORIGIN, PAGE, HEADLINES, CARDS, STUDY = "origin.json", "index.html", "headlines", "data", "study"
BLOCK = re.compile(r"(<!-- published: (\S+) -->\n).*?(<!-- /published -->)", re.DOTALL)
RESULTS, NOTE = "results", "note"
CROSSVALIDATED, IMAGES, NOT_RUN = "cross-validated", "test images (positive)", "not run"


def write_origin(origin: Origin, folder: Path, more: Mapping[str, Any]) -> None:
    """Write `origin.json`; `more` adds entries that the page does not show."""
    files.write_json(dataclasses.asdict(origin) | dict(more), folder / ORIGIN)


def read_origin(folder: Path) -> Origin:
    """The origin of the results in `folder`."""
    path = folder / ORIGIN
    with files.expect_schema(path):
        return TypeAdapter(Origin).validate_python(files.read_json(path))


def draw(folder: Path, params: Params) -> str:
    """The HTML report of published results.

    Raises:
        DataError: A figure is missing, or the page is too large.
    """
    origin = read_origin(folder)
    contents = collect(
        origin,
        headlines=read_headlines(folder / HEADLINES, origin.models),
        cards=folder / CARDS,
        study=folder / STUDY,
        max_width=params.page.max_picture_width,
    )
    if contents.missing:
        raise DataError(f"Published results must be complete; missing: {contents.missing[:5]}.")
    return render(contents, max_megabytes=params.page.max_megabytes)


def documents() -> list[Path]:
    """The Markdown documents that git tracks."""
    listed, problem = lineage.ask_git("ls-files", "*.md")
    if listed is None:
        raise DataError(f"The documents cannot be listed: {problem}.")
    paths = [working_tree() / line for line in listed.splitlines()]
    return [path for path in paths if path.is_file()]


def fill_documents(folder: Path) -> list[Path]:
    """Rewrite the blocks of all documents and return the documents that changed."""
    changed = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if (filled := fill(text, folder)) != text:
            files.write_text(filled, path)
            changed.append(path)
    return changed


def fill(text: str, folder: Path) -> str:
    """`text` with new content between each `<!-- published: NAME -->` and `<!-- /published -->`.

    NAME is `results` (a table with a row for each cohort), `note`, or the path of a published CSV file.
    """
    return BLOCK.sub(lambda block: f"{block[1]}{_content(block[2], folder)}\n{block[3]}", text)


def _content(name: str, folder: Path) -> str:
    if name == NOTE:
        return f"**{read_origin(folder).note}**"
    if name == RESULTS:
        origin = read_origin(folder)
        return results_table(
            read_headlines(folder / HEADLINES, origin.models),
            not_run=[part for part in origin.not_run if part != STUDY],
        )
    if not (folder / name).exists() and name.split("/", maxsplit=1)[0] in read_origin(folder).not_run:
        return NOT_RUN
    return markdown(files.read_csv(folder / name, dtype=str))


def results_table(headlines: list[dict[str, Any]], *, not_run: Sequence[str] = ()) -> str:
    """The results of all cohorts on their test sets, with 95 % intervals.

    Where a cohort was cross-validated over all images, a column says so for each. Cohorts of `not_run`
    follow.
    """
    rows = [{"cohort": name, IMAGES: NOT_RUN} for name in not_run]
    table = pd.DataFrame([*map(_row, headlines), *rows]).fillna("-")
    is_measured = any("crossvalidation" in found for found in headlines)
    return markdown(table if is_measured else table.drop(columns=CROSSVALIDATED, errors="ignore"))


def _row(found: Mapping[str, Any]) -> dict[str, str]:
    metrics, colours = found["metrics"], found["references"][REFERENCE_NAMES[0]]
    selected = metrics[found["selected"]]
    return {
        "cohort": found["cohort"] + (" (SYNTHETIC)" if found["is_synthetic"] else ""),
        IMAGES: f"{found['num_images']} ({found['num_malignant']})",
        **{model: in_words(metrics[model]["auc_roc"]) for model in MODEL_NAMES},
        CROSSVALIDATED: crossvalidation.beside(found),
        "colours": in_words(colours["auc_roc"]),
        "selected": found["selected"],
        "sensitivity": in_words(selected["sensitivity"]),
        "specificity": in_words(selected["specificity"]),
        "gates": verdict_word(found["promotion"]),
    }
