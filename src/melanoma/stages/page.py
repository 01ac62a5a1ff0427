"""What the script `page` gathers: results, cards, the study, the registry, and what is not there."""

import argparse
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from melanoma import config, files, lineage
from melanoma.config import Params
from melanoma.page import markup, results, study
from melanoma.page.stages import Stage, read_stages
from melanoma.page.write import Contents
from melanoma.stages import standing

ROOT = Path(__file__).resolve().parents[1]
DEFAULT, PAGE = "sample", "page"
FIRST = "compare"  # of the study: what all the rest leads to
DRAW_AGAIN = "make page"
MAKE_STUDY = {  # what `make study` has active
    "datasets": ["isic", "ph2"],
    "cohorts": ["isic", "ph2", "joint"],
    "study": ["isic", "ph2", "joint"],
}


def gather(args: argparse.Namespace, params: Params) -> Contents:
    """All that the page shows of the active datasets and cohorts; what is not there is named."""
    run, width = params.run, params.page.max_picture_width
    stages = _stages(args.graph, params)
    headlines = list(_headlines(args.headlines, run.cohorts))
    cards = {
        name: markup.read(args.cards / f"{name}.md", top_level=3, max_width=width)
        for name in run.datasets
        if (args.cards / f"{name}.md").is_file()
    }
    by_name = {stage.name: stage for stage in stages}
    order = sorted(by_name, key=lambda name: name != FIRST)
    parts = study.gather(
        args.study,
        items={name: by_name[name].items if by_name[name].loop else None for name in order},
        known=list(params.cohorts),
        max_width=width,
    )
    code, hashes = lineage.lineage_tags(), lineage.data_hashes()
    lost = [name for card in cards.values() for name in card.missing]
    return Contents(
        drawn_at=standing.in_words(datetime.now(UTC)),
        stages=stages,
        headlines=headlines,
        models={
            found["cohort"]: standing.read(
                found["promotion"]["registered_model"], current=found["promotion"]["version"]
            )
            for found in headlines
        },
        cards=cards,
        study_cohorts=run.study,
        study_folder=str(args.study),
        parts=parts,
        commands=_commands(params, code[lineage.COMMIT_TAG]),
        git_commit=code[lineage.COMMIT_TAG],
        is_dirty=code[lineage.DIRTY_TAG] == "True",
        raw_digests={name: hashes.get(f"data/raw/{name}", "not under DVC here") for name in run.datasets},
        missing=[
            *_missing_outputs(stages),
            *(f"{args.cards / name}, a picture that a data card names" for name in lost),
            *(line for part in parts for line in part.missing),
        ],
    )


def _stages(graph: Path, params: Params) -> list[Stage]:
    run = params.run
    return read_stages(
        config.read_yaml(graph),
        active={f"run.{name}": list(items) for name, items in run.model_dump().items()},
        known=sorted({*params.ingest, *params.cohorts}),
        root=ROOT,
    )


def _headlines(folder: Path, cohorts: list[str]) -> Iterator[dict[str, Any]]:
    for cohort in cohorts:
        path = folder / f"{cohort}.json"
        if path.is_file():
            found = files.read_json(path)
            with files.expect_schema(path):
                results.describe(found)
            yield found


def _missing_outputs(stages: list[Stage]) -> Iterator[str]:
    """Reports that stages which run should have left, but not what the page itself will be."""
    for stage in stages:
        if stage.name == PAGE:
            continue
        for path in (path for written in stage.writes for path in stage.expand(written)):
            if path.startswith("reports/") and not Path(path).exists():
                yield f"{path}; it is written by dvc repro {stage.name}"


def _commands(params: Params, commit: str) -> str:
    """From a clone to this page."""
    again = f"{DRAW_AGAIN}   # this page alone, with the registry as it is then"
    is_known = commit != lineage.UNKNOWN
    checkout = f"git checkout {commit}" if is_known else "# git could not say which commit this page is of"
    return "\n".join([checkout, "make install", *_run_again(params), again])


def _run_again(params: Params) -> list[str]:
    run = params.run
    if run.datasets == [DEFAULT]:
        return ["dvc repro"]
    bring = "dvc pull                # or bring the images in: python -m pipelines.fetch, see README.md"
    if run.model_dump() == MAKE_STUDY:
        return [bring, "make study"]
    settings = (f"run.{name}=[{','.join(items)}]" for name, items in run.model_dump().items())
    return [bring, " ".join(["dvc exp run", *(f"-S {shlex.quote(setting)}" for setting in settings)])]
