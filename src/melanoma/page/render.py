"""The HTML report: all results rendered into the template as one self-contained text.

The content security policy in its head lets the browser run and load nothing but what the file holds: even a
report's text that got past the escaping could not act.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from melanoma.errors import DataError
from melanoma.page import results, served
from melanoma.page.charts import SIDE
from melanoma.page.graph import Node, layers
from melanoma.page.markup import Document
from melanoma.page.registered import Model
from melanoma.page.study import Part
from melanoma.page.tables import Table, make
from melanoma.schema import NOT_A_DEVICE

PACKAGE, FOLDER = "melanoma.page", "templates"
SECTIONS = {  # below the results, in this order
    "data": "Data",
    "gates": "Gates",
    "serve": "How to serve the model",
    "served": "What is served now",
    "pipeline": "The pipeline",
    "registry": "Registered models",
    "reproduce": "How to reproduce the results",
    "missing": "Missing files",
    "study": "The study of the paper",
}
LOOP_IN_WORDS = {"": "once", "run.datasets": "each dataset", "run.cohorts": "each cohort"}
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Origin:
    """Where results come from: all that the page shows beside the result files.

    Attributes:
        note: What the results are, in a sentence.
        results_at: Date and time (UTC) of the results and the registry; redrawing keeps it.
        git_commit: Commit of the working tree.
        is_dirty: Whether the working tree had uncommitted changes.
        commands: Shell commands that reproduce the results.
        raw_digests: DVC's hash of the raw images by dataset.
        graph: Stages, each after those that it needs.
        models: Registered model by cohort; None where the registry has none.
        parts: Of published results, by cohort and `study`: `git_commit`, `published_at`, and the SHA-256 of
            `code.json` and `params.yaml`; empty for the last run and in older results.
        not_run: Cohorts, and the study, that belong to the published results and were not run.
        not_run_of_study: Stages of the published study that were not run.
    """

    note: str
    results_at: str
    git_commit: str
    is_dirty: bool
    commands: str
    raw_digests: Mapping[str, str]
    graph: Sequence[Node]
    models: Mapping[str, Model | None]
    parts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    not_run: Sequence[str] = field(default_factory=list)
    not_run_of_study: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Contents:
    """Everything that the page shows.

    Attributes:
        origin: Where the results come from.
        headlines: Results by cohort, see `evaluation.headline`.
        cards: Data cards by dataset.
        study: Parts of the study; empty where it is not shown.
        missing: Missing files, a line each.
    """

    origin: Origin
    headlines: Sequence[Mapping[str, Any]]
    cards: Mapping[str, Document]
    study: Sequence[Part]
    missing: Sequence[str]


def render(contents: Contents, *, max_megabytes: float) -> str:
    """The HTML report.

    Raises:
        DataError: It is larger than `max_megabytes` (of a million bytes).
    """
    page = _render(contents)
    size = len(page.encode("utf-8")) / MEGABYTE
    if size > max_megabytes:
        raise DataError(
            f"The page would have {size:.2f} megabytes, more than page.max_megabytes {max_megabytes:g}. "
            "Remove figures, lower page.max_picture_width, or raise the limit."
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
    environment.filters["runs_for"] = lambda node: LOOP_IN_WORDS.get(node.loop, node.loop)
    style, script = _asset("page.css"), _asset("page.js")
    origin, headlines = contents.origin, contents.headlines
    absent = {name for name in ("study", "missing") if not getattr(contents, name)}
    return environment.get_template("index.html.j2").render(
        style=Markup(style),  # noqa: S704 our own file
        style_hash=_csp_hash(style),
        script=Markup(script),  # noqa: S704 our own file
        script_hash=_csp_hash(script),
        not_a_device=NOT_A_DEVICE,
        titles=SECTIONS,
        sections=[item for item in SECTIONS.items() if item[0] not in absent],
        origin=origin,
        cohorts=[headline["cohort"] for headline in headlines],
        synthetic=[found["cohort"] for found in headlines if found["is_synthetic"]],
        overview=results.overview(headlines) if len(headlines) > 1 else None,
        results=[results.describe(headline) for headline in headlines],
        side=SIDE,
        study=contents.study,
        cards=contents.cards,
        layers=layers(origin.graph),
        stages=_stages_table(origin.graph),
        models={cohort: _model_view(model) for cohort, model in origin.models.items()},
        served=[served.view(model) for model in origin.models.values() if model],
        sources=_sources_table(contents),
        missing=contents.missing,
    )


def _asset(name: str) -> str:
    return resources.files(PACKAGE).joinpath(FOLDER, name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    """The hash by which the content security policy admits the script and the style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"


def _stages_table(graph: Sequence[Node]) -> Table:
    rows = [
        [node.name, node.does, ", ".join(node.items) if node.loop else "once", ", ".join(node.after) or "-"]
        for node in graph
    ]
    return make("Stages in the order of the graph", ["stage", "what it does", "runs for", "follows"], rows)


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


def _sources_table(contents: Contents) -> Table:
    rows = [["code of this page", "git commit", contents.origin.git_commit]]
    for name, part in contents.origin.parts.items():
        rows.append([f"code of the results of {name}", "git commit", part["git_commit"]])
    for name in ("code.json", "params.yaml"):  # the same for all parts
        rows += [[name, "sha256", part[name]] for part in [*contents.origin.parts.values()][:1]]
    for dataset, digest in contents.origin.raw_digests.items():
        rows.append([f"raw images of {dataset}", "md5 by DVC", digest])
    for found in contents.headlines:
        rows.append([f"packed images of {found['cohort']}", "sha256 of the data", found["data_digest"]])
        rows += [
            [f"{model} of {found['cohort']}", "MLflow run", run_id]
            for model, run_id in found["run_ids"].items()
        ]
    return make("Code, data and runs behind the results", ["what", "kind", "digest or id"], rows)
