"""Stage `page`: gather results, data cards, the study and the registry for the HTML report."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from melanoma import config, files, lineage
from melanoma.config import Params
from melanoma.page import markup, results
from melanoma.page.graph import Node, read_graph
from melanoma.page.render import Contents, Origin
from melanoma.page.study import gather as gather_study
from melanoma.stages import registered

ROOT = Path(__file__).resolve().parents[3]
DEFAULT, PAGE = "sample", "page"
CROSSVALIDATION = "crossvalidation.json"  # beside the other reports of a cohort
LAST_RUN = "Results of the last run of the pipeline."


def gather(params: Params, *, graph: Path, headlines: Path, cards: Path, study: Path | None) -> Contents:
    """Everything that the page shows of the active datasets and cohorts.

    Args:
        params: All parameters.
        graph: Path of `dvc.yaml`.
        headlines: Folder with a headline for each cohort.
        cards: Folder with a data card for each dataset.
        study: Folder with the results of the study; None leaves it out.
    """
    found = read_headlines(headlines, params.run.cohorts)
    origin = current_origin(params, graph=graph, headlines=found, note=LAST_RUN)
    return collect(
        origin,
        headlines=found,
        cards=cards,
        study=study,
        max_width=params.page.max_picture_width,
        missing=_missing_outputs(origin.graph),
    )


def read_headlines(folder: Path, cohorts: Iterable[str]) -> list[dict[str, Any]]:
    """The headlines of those cohorts that have one, with their cross-validation where it was measured."""
    found = []
    for path in (folder / f"{cohort}.json" for cohort in cohorts):
        if path.is_file():
            found.append(files.read_json(path))
            measured = folder.parent / path.stem / CROSSVALIDATION
            if measured.is_file():
                found[-1]["crossvalidation"] = files.read_json(measured)
            with files.expect_schema(path):
                results.describe(found[-1])
    return found


def current_origin(
    params: Params, *, graph: Path, headlines: Sequence[Mapping[str, Any]], note: str
) -> Origin:
    """The state of code, data and registry now."""
    run, code, hashes = params.run, lineage.lineage_tags(), lineage.data_hashes()
    promotions = {found["cohort"]: found["promotion"] for found in headlines}
    commit = code[lineage.COMMIT_TAG]
    return Origin(
        note=note,
        results_at=registered.in_words(datetime.now(UTC)),
        git_commit=commit,
        is_dirty=code[lineage.DIRTY_TAG] == "True",
        commands=_commands(commit, datasets=run.datasets, cohorts=run.cohorts),
        raw_digests={name: hashes.get(f"data/raw/{name}", "not under DVC here") for name in run.datasets},
        graph=read_graph(
            config.read_yaml(graph),
            active={"run.datasets": run.datasets, "run.cohorts": run.cohorts},
            known=sorted({*params.ingest, *params.cohorts}),
            root=ROOT,
        ),
        models={
            cohort: registered.read(promotion["registered_model"], current=promotion["version"])
            for cohort, promotion in promotions.items()
        },
    )


def collect(
    origin: Origin,
    *,
    headlines: Sequence[Mapping[str, Any]],
    cards: Path,
    study: Path | None,
    max_width: int,
    missing: Iterable[str] = (),
) -> Contents:
    """The contents of the page from result files.

    Args:
        origin: Where the results come from; its datasets are shown.
        headlines: Headlines of the cohorts.
        cards: Folder with a data card for each dataset.
        study: Folder with the results of the study; None leaves it out.
        max_width: Maximum width of figures in pixels.
        missing: Missing files that are known already, a line each.
    """
    shown = {
        name: markup.read(cards / f"{name}.md", top_level=3, max_width=max_width)
        for name in origin.raw_digests
        if (cards / f"{name}.md").is_file()
    }
    parts = gather_study(study, max_width=max_width) if study else []
    return Contents(
        origin=origin,
        headlines=headlines,
        cards=shown,
        study=parts,
        missing=[
            *missing,
            *(f"{cards / name}, a figure of a data card" for card in shown.values() for name in card.missing),
            *(line for part in parts for line in part.missing),
        ],
    )


def _missing_outputs(nodes: Sequence[Node]) -> Iterator[str]:
    """Reports of other stages that do not exist, and the command that writes them."""
    for node in nodes:
        for path in node.outputs if node.name != PAGE else []:
            if path.startswith("reports/") and not Path(path).exists():
                yield f"{path}; it is written by dvc repro {node.name}"


def _commands(commit: str, *, datasets: Sequence[str], cohorts: Sequence[str]) -> str:
    """Shell commands from a clone to these results."""
    is_known = commit != lineage.UNKNOWN
    checkout = f"git checkout {commit}" if is_known else "# the commit is not known"
    lines = [checkout, "make install"]
    if list(datasets) == [DEFAULT]:
        return "\n".join([*lines, "dvc repro"])
    settings = [f"run.datasets=[{','.join(datasets)}]", f"run.cohorts=[{','.join(cohorts)}]"]
    return "\n".join(
        [
            *lines,
            "dvc pull                # or import the images with python -m pipelines.fetch, see README.md",
            " ".join(["dvc exp run", *(f"-S {shlex.quote(setting)}" for setting in settings)]),
        ]
    )
