"""The page itself: all that was gathered, put into the template, as one text.

The policy in its head lets the browser run and load nothing but what the page holds: even if a report's text
got past the escaping, it could not act.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from melanoma.errors import DataError
from melanoma.page import drawing, results
from melanoma.page.charts import SIDE
from melanoma.page.markup import Document
from melanoma.page.registered import Model
from melanoma.page.stages import Stage
from melanoma.page.study import Part
from melanoma.page.tables import Table, make
from melanoma.schema import NOT_A_DEVICE

PACKAGE, FOLDER = "melanoma.page", "templates"
SECTIONS = {
    "results": "Results",
    "study": "The study",
    "data": "Data",
    "pipeline": "The pipeline",
    "registry": "Registered models",
    "again": "How to make it again",
}
LOOP_IN_WORDS = {
    "": "once",
    "run.datasets": "each dataset",
    "run.cohorts": "each cohort",
    "run.study": "study cohorts",
}
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Contents:
    """All that the page shows.

    Attributes:
        drawn_at: In words, UTC.
        stages: Of the graph, each after those that it needs.
        headlines: Of the active cohorts, see `evaluation.headline`.
        models: By active cohort; None where the registry has none.
        cards: Data cards by active dataset.
        study_cohorts: Cohorts of the study; none where it is off.
        study_folder: Where it leaves its results.
        parts: Of the study.
        commands: That make it again.
        git_commit: Of the working tree.
        is_dirty: Whether it had changes that were not committed.
        raw_digests: DVC's hash of the raw images by dataset.
        missing: What should be there and is not, a line each.
    """

    drawn_at: str
    stages: Sequence[Stage]
    headlines: Sequence[Mapping[str, Any]]
    models: Mapping[str, Model | None]
    cards: Mapping[str, Document]
    study_cohorts: Sequence[str]
    study_folder: str
    parts: Sequence[Part]
    commands: str
    git_commit: str
    is_dirty: bool
    raw_digests: Mapping[str, str]
    missing: Sequence[str]


def write(contents: Contents, *, max_megabytes: float) -> str:
    """The page.

    Raises:
        DataError: It is larger than `max_megabytes` (of a million bytes).
    """
    page = _render(contents)
    size = len(page.encode("utf-8")) / MEGABYTE
    if size > max_megabytes:
        raise DataError(
            f"The page would have {size:.2f} megabytes, more than page.max_megabytes {max_megabytes:g}. "
            f"Leave fewer or smaller pictures in {contents.study_folder}, lower page.max_picture_width, "
            "or raise the bound."
        )
    return page


def _render(contents: Contents) -> str:
    environment = Environment(
        autoescape=True,
        loader=PackageLoader(PACKAGE, FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["runs_for"] = lambda stage: LOOP_IN_WORDS.get(stage.loop, stage.loop)
    style, script = _asset("page.css"), _asset("page.js")
    cohorts = [headline["cohort"] for headline in contents.headlines]
    shown = SECTIONS | ({"missing": "What is not here"} if contents.missing else {})
    return environment.get_template("index.html.j2").render(
        style=Markup(style),  # noqa: S704 our own file
        style_hash=_csp_hash(style),
        script=Markup(script),  # noqa: S704 our own file
        script_hash=_csp_hash(script),
        not_a_device=NOT_A_DEVICE,
        sections=list(shown.items()),
        drawn_at=contents.drawn_at,
        cohorts=cohorts,
        synthetic=[found["cohort"] for found in contents.headlines if found["is_synthetic"]],
        results=[results.describe(headline) for headline in contents.headlines],
        side=SIDE,
        study_cohorts=contents.study_cohorts,
        study_folder=contents.study_folder,
        parts_of_study=contents.parts,
        cards=contents.cards,
        drawing=drawing.draw(contents.stages),
        box_height=drawing.BOX_HEIGHT,
        stages=_stages_table(contents.stages),
        models={cohort: _model_view(model) for cohort, model in contents.models.items()},
        commands=contents.commands,
        origins=_origins_table(contents),
        is_dirty=contents.is_dirty,
        missing=contents.missing,
    )


def _asset(name: str) -> str:
    return resources.files(PACKAGE).joinpath(FOLDER, name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    """By which the browser knows the one script and the one style that may act."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"


def _stages_table(stages: Sequence[Stage]) -> Table:
    rows = [
        [
            stage.name,
            stage.does,
            _runs_now(stage),
            ", ".join(stage.after) or "-",
        ]
        for stage in stages
    ]
    return make("Stages in the order of the graph", ["stage", "what it does", "runs", "follows"], rows)


def _runs_now(stage: Stage) -> str:
    if not stage.loop:
        return "once"
    return f"for {', '.join(stage.items)}" if stage.items else f"off ({stage.loop} is empty)"


def _model_view(model: Model | None) -> dict[str, Any] | None:
    if model is None:
        return None
    aliases = [
        [
            holder.alias,
            str(holder.number),
            holder.since or "-",
            holder.by,
            holder.kind or "-",
            holder.reason or "-",
        ]
        for holder in model.holders
    ]
    versions = [
        [
            str(version.number) + (" (of these results)" if version.is_current else ""),
            ", ".join(version.aliases) or "-",
            version.registered_at,
            version.gate,
            version.model or "-",
            version.test_auc or "-",
            {True: "synthetic", False: "real", None: "not said"}[version.is_synthetic],
            version.git_commit[:10],
        ]
        for version in model.versions
    ]
    titles = ["version", "aliases", "registered", "gates", "model", "AUC on test", "images", "commit"]
    return {
        "name": model.name,
        "holders": model.holders,
        "aliases": make(
            f"Aliases of {model.name} and who moved them",
            ["alias", "version", "since", "by", "how", "reason"],
            aliases,
        ),
        "versions": make(f"Versions of {model.name}, the newest first", titles, versions),
        "num_older": model.num_older,
    }


def _origins_table(contents: Contents) -> Table:
    rows = [["code of this page", "git commit", contents.git_commit]]
    for dataset, digest in contents.raw_digests.items():
        rows.append([f"raw images of {dataset}", "md5 by DVC", digest])
    for found in contents.headlines:
        rows.append([f"packed images of {found['cohort']}", "sha256 of the data", found["data_digest"]])
        rows += [
            [f"{model} of {found['cohort']}", "MLflow run", run_id]
            for model, run_id in found["run_ids"].items()
        ]
    return make("What it was made from", ["what", "kind", "digest or id"], rows)
