"""How MLflow shows an experiment: a note that says what to compare, and a saved view of its runs table.

Both are tags of the experiment. The format of a saved view is that of MLflow 3.17's own page, which has no
Python interface for it: a version that does not know it shows its usual columns.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from melanoma.tracking_fields import NOTE_TAG

VIEW_TAG_PREFIX = "mlflow.sharedViewState."
VIEW_NAME, VIEW_KEY = "Results", "melanoma"  # in the menu of saved views, and in addresses
WRITTEN = "mlflow.melanoma.sha256."  # + name of a tag: digest of what this module wrote; pages hide `mlflow.`
SAVED_AT = 1_795_824_000_000  # milliseconds; MLflow requires a time, a constant one keeps the tag the same
NEWEST_FIRST = "attributes.start_time"
METRIC_WIDTH = 135  # pixels; MLflow's own width of 100 cuts the names off

TRAINING = "workflowType=machine_learning"  # without it, MLflow shows its pages of language models

SELECTION, TEST = "selection/auc_roc", "test/auc_roc"
SCORES = (SELECTION, TEST, "test/sensitivity", "test/specificity")
HOW_TO_OPEN = (
    f"**To see the columns**, choose the saved view *{VIEW_NAME}* at the top right, or open an address that "
    "`make ui` prints."
)
OLD_NAMES = (
    "Older runs keep the metric names that they were logged with (`best_val_auc_roc` is now "
    f"`{SELECTION}`, `test_auc_roc` is `{TEST}`), so these columns are empty for them."
)


@dataclass(frozen=True)
class Presentation:
    """How one experiment is shown.

    Attributes:
        note: Markdown.
        columns: Columns of the runs table, see `metric`, `param` and `tag`.
        order_by: Column by which the table is sorted, descending.
    """

    note: str
    columns: tuple[str, ...]
    order_by: str


def metric(name: str) -> str:
    """A metric as column."""
    return f"metrics.`{name}`"


def param(name: str) -> str:
    """A parameter as column."""
    return f"params.`{name}`"


def tag(name: str) -> str:
    """A tag as column."""
    return f"tags.`{name}`"


COHORT = Presentation(
    note=f"""Compare networks by `{SELECTION}`: AUC on held-out training groups, by which trials are chosen.
Baseline or tuned is selected by its mean over seeds, `seeds/auc_roc_mean`. Use `test/...` to report, not to
choose.

{HOW_TO_OPEN}

* `selection/...`: hold-out, at the kept epoch, before calibration. Trials and final networks have it.
* `validation/...` and `test/...`: calibrated, at the operating point. Final networks only.
* `seeds/...`: mean and standard deviation over seeds. `epoch/...`: learning curves.
* `audit/...`: AUC when parts of the image are hidden.

Saved views such as *Baseline and tuned* compare the newest runs. For others, tick two and press *Compare*,
then switch on *Show diff only* below *Parameters*.

{OLD_NAMES}

Research software, not a medical device. The tag `is_synthetic` says whether the images are synthetic.
""",
    columns=(
        *map(metric, SCORES),
        param("learning_rate"),
        param("depth"),
        tag("gate"),
    ),
    order_by=metric(SELECTION),
)
STUDY = Presentation(
    note=f"""Networks of the study. Compare them only within one `cohort` and one `stage`; the tag
`protocol` says how images were split. Runs with the protocol `paper` leak, so their AUC is too high.

{HOW_TO_OPEN}

{OLD_NAMES}
""",
    columns=(
        metric(SELECTION),
        metric(TEST),
        tag("cohort"),
        tag("stage"),
        tag("protocol"),
        param("learning_rate"),
        param("depth"),
    ),
    order_by=metric(SELECTION),
)
DATA = Presentation(
    note=f"""Checks of the datasets, one run per validation. Compare `data/num_accepted` and
`data/num_quarantined` of a dataset with its earlier runs. Each run's artifacts hold the report of the checks.

{HOW_TO_OPEN}
""",
    columns=(
        tag("dataset"),
        metric("data/num_images"),
        metric("data/num_accepted"),
        metric("data/num_quarantined"),
        metric("data/num_malignant"),
        tag("is_synthetic"),
    ),
    order_by=NEWEST_FIRST,
)
LEDGER = Presentation(
    note=f"""What happened to the registered models, newest first: who moved which alias and why, refused
versions, and each look at a test set. Entries are never changed; do not delete them.

{HOW_TO_OPEN} `python -m pipelines.history MODEL` prints the same.
""",
    columns=(
        tag("kind"),
        tag("registered_model"),
        tag("version"),
        tag("previous_version"),
        tag("purpose"),
        tag("by"),
        tag("reason"),
    ),
    order_by=NEWEST_FIRST,
)
REPORTS = Presentation(
    note=f"""HTML reports, newest first: each run has one report page among its artifacts.

{HOW_TO_OPEN}
""",
    columns=(tag("cohorts"), tag("git_commit"), tag("git_dirty")),
    order_by=NEWEST_FIRST,
)
NAMED = {
    "melanoma-study": STUDY,
    "melanoma-data": DATA,
    "melanoma-reports": REPORTS,
    "registry-ledger": LEDGER,
}
COHORT_PREFIX = "melanoma-"


def presentation_of(experiment: str) -> Presentation | None:
    """How an experiment of this project is shown; None for another one."""
    return NAMED.get(experiment, COHORT if experiment.startswith(COHORT_PREFIX) else None)


def is_of_cohort(experiment: str) -> bool:
    """Whether an experiment holds the networks of a cohort."""
    return presentation_of(experiment) is COHORT


def missing_tags(experiment: str, current: Mapping[str, str]) -> dict[str, str]:
    """Tags to set, so that the experiment has its note and its saved view; see `changed_tags`.

    Args:
        experiment: Name of the experiment.
        current: Its tags.
    """
    shown = presentation_of(experiment)
    if shown is None:
        return {}
    view = saved_view(VIEW_NAME, shown.columns, order_by=shown.order_by)
    return changed_tags({NOTE_TAG: shown.note, VIEW_TAG_PREFIX + VIEW_KEY: view}, current)


def comparison_tags(
    title: str, run_ids: Sequence[str], params: Sequence[str], current: Mapping[str, str]
) -> dict[str, str]:
    """Tags to set, so that the experiment has a saved view that compares some runs; see `changed_tags`.

    Args:
        title: Name of the view, for instance "baseline and tuned".
        run_ids: The runs.
        params: Names of the parameters that differ.
        current: Tags of the experiment.
    """
    ids = ", ".join(f"'{run_id}'" for run_id in run_ids)
    columns = (*map(metric, SCORES), *map(param, params))
    view = saved_view(
        title.capitalize(), columns, order_by=metric(SELECTION), search=f"attributes.run_id IN ({ids})"
    )
    return changed_tags({VIEW_TAG_PREFIX + comparison_key(title): view}, current)


def comparison_key(title: str) -> str:
    """Key of a saved view that compares runs."""
    return f"{VIEW_KEY}-{title.replace(' ', '-')}"


def changed_tags(wanted: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str]:
    """Those of the wanted tags that are not current, with digests of them.

    What a person has written or changed is kept: an existing tag is replaced only if its digest is the one
    that was remembered when this module wrote it.
    """
    tags: dict[str, str] = {}
    for name, text in wanted.items():
        found, memo = current.get(name), WRITTEN + name
        if found != text and (found is None or current.get(memo) == _digest(found)):
            tags |= {name: text, memo: _digest(text)}
    return tags


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def saved_view(name: str, columns: Sequence[str], *, order_by: str, search: str = "") -> str:
    """A saved view, as MLflow's page writes it when a person saves one.

    Args:
        name: Name in the menu of saved views.
        columns: Columns of the runs table, see `metric`, `param` and `tag`.
        order_by: Column by which the table is sorted, descending.
        search: Search of runs; by default all runs.
    """
    metrics = [column[len("metrics.`") : -1] for column in columns if column.startswith("metrics.")]
    state = {
        "searchFilter": search,
        "orderByKey": order_by,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,  # without it, widths are ignored
        "columnWidths": {metric(metric_name): METRIC_WIDTH for metric_name in metrics},
        "chartsSearchFilter": f"^({'|'.join(metrics)})$" if metrics else "",
    }
    compressed = zlib.compress(json.dumps(state).encode())
    return json.dumps(
        {
            "name": name,
            "createdAt": SAVED_AT,
            "updatedAt": SAVED_AT,
            "state": f"deflate;{base64.b64encode(compressed).decode()}",
        }
    )


def runs_page(server: str, experiment_id: str, view: str = VIEW_KEY) -> str:
    """Address of an experiment's runs table in a saved view."""
    return f"{server}/#/experiments/{experiment_id}/runs?{TRAINING}&viewStateShareKey={view}"


def model_page(server: str, name: str) -> str:
    """Address of a registered model's page."""
    return f"{server}/#/models/{quote(name, safe='')}?{TRAINING}"


def version_comparison_page(server: str, name: str, versions: Mapping[str, str]) -> str:
    """Address of the page that compares versions of a registered model.

    Args:
        server: Address of the server.
        name: Name of the registered model.
        versions: Run id of each version.
    """
    model = _json(quote(name, safe=""))  # MLflow reads the name only where it comes first
    return f"{server}/#/compare-model-versions?name={model}&runs={_json(versions)}&{TRAINING}"


def _json(value: object) -> str:
    return quote(json.dumps(value, separators=(",", ":")))
