"""The published tables beside ours under both protocols. All numbers come from result files.

`results` is the output of the stage `protocols` by cohort, as in JSON (null = undefined). Tables I to III
have one row with the paper's figures and one per protocol; networks that were not trained are left out.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation import bootstrap
from melanoma.evaluation.bootstrap import number_in_words
from melanoma.evaluation.metric_table import BY_NAME
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE
from melanoma.study.paper_figures import COUNTS
from melanoma.study.paper_text import format_figures
from melanoma.study.protocol_results import BALANCED_VIEW, MAIN_NETWORK, TEST_VIEW

Results = dict[str, dict[str, Any]]

PRINTED = "the paper"
NAMES = {"paper": "ours, paper's protocol", "leak_free": "ours, leak-free"}
COMPARED = {MAIN_NETWORK: "three blocks", "vgg16_5": "VGG-16"}
HEADINGS = {
    "accuracy": "accuracy",
    "sensitivity": "sensitivity (recall)",
    "specificity": "specificity",
    "ppv": "precision (ppv)",
    "f1_score": "F1",
    "log_loss": "loss",
    "auc_roc": "AUC",
}
ORDER = ("isic", "ph2", "joint")
MIN_GROUPS = 5  # groups with an image of each class that a metric needs; with fewer it is not shown
TOO_FEW = "n too small"
GROUPS_OF = {POSITIVE: "num_malignant_groups", NEGATIVE: "num_benign_groups"}  # keys of a result


def ordered(results: Results) -> list[str]:
    """The cohorts: those of the paper in its order, then others."""
    return [cohort for cohort in ORDER if cohort in results] + sorted(set(results) - set(ORDER))


def table_1(published: dict[str, Any], results: Results) -> pd.DataFrame:
    """PH2 by number of convolutional layers: recall, F1 and precision."""
    metrics = ("sensitivity", "f1_score", "ppv", "auc_roc")
    rows = []
    for printed in published["table_1"]:
        head = {"layers": printed["depth"]}
        network = f"conv_blocks_{printed['depth']}"
        rows += [head | row for row in _beside(printed, results.get("ph2"), network, metrics)]
    return _table(rows, "layers", metrics)


def table_2(published: dict[str, Any], results: Results) -> pd.DataFrame:
    """Three layers on each dataset: accuracy, sensitivity, specificity and precision."""
    metrics = ("accuracy", "sensitivity", "specificity", "ppv", "auc_roc")
    rows = []
    for cohort, printed in published["table_2"].items():
        head = {"dataset": cohort}
        rows += [head | row for row in _beside(printed, results.get(cohort), MAIN_NETWORK, metrics)]
    return _table(rows, "dataset", metrics)


def table_3(published: dict[str, Any], results: Results) -> pd.DataFrame:
    """The three-block network and VGG-16 on ISIC: accuracy, loss, sensitivity and precision."""
    metrics = ("accuracy", "log_loss", "sensitivity", "ppv", "auc_roc")
    rows = []
    for network, printed in published["table_3"].items():
        head = {"network": COMPARED[network]}
        rows += [head | row for row in _beside(printed, results.get("isic"), network, metrics)]
    return _table(rows, "network", metrics)


def _beside(
    printed: dict[str, float], result: dict[str, Any] | None, network: str, metrics: Iterable[str]
) -> list[dict[str, Any]]:
    """The printed row, and one row per protocol under which the network was trained."""
    cells = {name: f"{printed[name]:.4f}" if name in printed else "" for name in metrics}
    rows: list[dict[str, Any]] = [{"source": PRINTED, "test images": "", **cells}]
    if result is None or network not in result["networks"]:
        return rows
    found = result["networks"][network]["protocols"]
    for protocol, name in NAMES.items():
        if protocol in found:
            view = found[protocol]["views"][TEST_VIEW]
            ours = {metric: bootstrap.in_words(view[metric]) for metric in metrics}
            rows.append({"source": name, "test images": _count(view), **ours})
    return rows


def _count(view: dict[str, Any]) -> str:
    return f"{view['num_images']} ({view['num_malignant']} positive)"


def _table(rows: list[dict[str, Any]], first: str, metrics: Iterable[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=[first, "source", "test images", *metrics])
    return table.rename(columns=HEADINGS)


def confusion(published: dict[str, Any], results: Results) -> pd.DataFrame:
    """Confusion matrices: the paper's, and those of our first seed's network at the threshold 0.5."""
    rows = []
    for cohort in [*published["confusion"], *(name for name in ordered(results) if name not in ORDER)]:
        if cohort in published["confusion"]:
            rows.append({"dataset": cohort, "source": PRINTED, **published["confusion"][cohort]})
        result = results.get(cohort)
        if result is None or MAIN_NETWORK not in result["networks"]:
            continue
        found = result["networks"][MAIN_NETWORK]["protocols"]
        for protocol, whose in NAMES.items():
            if protocol in found:
                first = found[protocol]["confusion"][str(result["seeds"][0])]
                rows.append({"dataset": cohort, "source": whose, **first})
    table = pd.DataFrame(rows, columns=["dataset", "source", *COUNTS])
    return table.rename(columns={name: name.replace("_", " ") for name in COUNTS})


WITH_RELATIVE = "with a relative in another split"
VIEWS = {
    (TEST_VIEW, "paper"): "test set of the paper's protocol",
    (f"{TEST_VIEW}_with_relatives", "paper"): f"of it, images {WITH_RELATIVE}",
    (f"{TEST_VIEW}_without_relatives", "paper"): "of it, images without such a relative",
    (f"{TEST_VIEW}_without_copies", "paper"): "of it, original images",
    (BALANCED_VIEW, "leak_free"): "leak-free test set, balanced by copies afterwards",
    (TEST_VIEW, "leak_free"): "leak-free test set",
}


def protocols(results: Results) -> pd.DataFrame:
    """The effect of the protocol: each network on each test set, and the differences between protocols."""
    metrics = ("accuracy", "sensitivity", "specificity", "ppv", "f1_score", "auc_roc")
    rows = []
    for cohort in ordered(results):
        for network, entry in results[cohort]["networks"].items():
            head = {"dataset": cohort, "network": network}
            for (view, protocol), name in VIEWS.items():
                measured = entry["protocols"].get(protocol, {"views": {}})["views"].get(view)
                if measured is not None:
                    cells = {metric: format_metric(measured, metric) for metric in metrics}
                    rows.append({**head, "tested on": name, "test images": _count(measured), **cells})
            for view, difference in entry.get("paper_minus_leak_free", {}).items():
                name = f"difference: paper's minus {VIEWS[view, 'leak_free']}"
                cells = {metric: bootstrap.in_words(difference[metric]) for metric in metrics}
                rows.append({**head, "tested on": name, "test images": "", **cells})
    table = pd.DataFrame(rows, columns=["dataset", "network", "tested on", "test images", *metrics])
    return table.rename(columns=HEADINGS)


def format_metric(view: dict[str, Any], metric: str) -> str:
    """A metric of a view with its interval, or `TOO_FEW` if it rests on too few groups of images."""
    if any(view[GROUPS_OF[kind]] < MIN_GROUPS for kind in BY_NAME[metric].needs):
        return TOO_FEW
    return bootstrap.in_words(view[metric])


def validation(results: Results) -> pd.DataFrame:
    """The epochs that were kept, and the AUC of the networks on the validation and test sets."""
    rows = []
    for cohort in ordered(results):
        for network, entry in results[cohort]["networks"].items():
            for protocol, name in NAMES.items():
                found = entry["protocols"].get(protocol)
                if found is None:
                    continue
                on_test = found["views"][TEST_VIEW]["auc_roc"]["by_seed"]  # by rising seed
                runs = sorted(found["runs"], key=lambda run: int(run["seed"]))
                rows.append(
                    {
                        "dataset": cohort,
                        "network": network,
                        "source": name,
                        "epochs kept": _listed(run["best_epoch"] for run in runs),
                        "AUC on validation": number_in_words(validation_auc(found)),
                        "of each network": _listed(number_in_words(run["best_val_auc_roc"]) for run in runs),
                        "AUC on test, of each network": _listed(map(number_in_words, on_test)),
                    }
                )
    return pd.DataFrame(rows)


def validation_auc(found: dict[str, Any]) -> float:
    """Mean AUC on the validation set of the networks of one kind and protocol."""
    return float(np.mean(np.array([run["best_val_auc_roc"] for run in found["runs"]], float)))


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def against_main(results: Results) -> pd.DataFrame:
    """Other networks minus the published one on the same test images: paired differences."""
    metrics = ("accuracy", "f1_score", "auc_roc")
    rows = [
        {"dataset": cohort, "network": f"{network} minus {MAIN_NETWORK}", "source": NAMES[protocol]}
        | {metric: bootstrap.in_words(difference[metric]) for metric in metrics}
        for cohort in ordered(results)
        for network, entry in results[cohort]["networks"].items()
        for protocol in NAMES
        if (difference := entry["minus_main"].get(protocol))
    ]
    return pd.DataFrame(rows).rename(columns=HEADINGS)


def contradictions(checked: dict[str, Any]) -> pd.DataFrame:
    """The published figures beside what follows from other published figures, and our assumptions."""
    rows = []
    for entry in checked["checks"]:
        printed, follows = format_figures(entry)
        row = {"topic": entry["topic"], "claim": entry["claim"], "printed": printed, "follows": follows}
        rows.append(row | {"agrees": "yes" if entry["agrees"] else "no", "assumes": entry["assumes"]})
    return pd.DataFrame(rows)


def images(results: Results) -> pd.DataFrame:
    """Number of images, positive images, copies and relatives of each split under each protocol."""
    rows = [
        {
            "dataset": cohort,
            "protocol": NAMES[protocol],
            "split": split,
            "images": counts["num_images"],
            "positive": counts["num_malignant"],
            "copies": counts["num_copies"],
            WITH_RELATIVE: counts["num_with_relative"],
        }
        for cohort in ordered(results)
        for protocol, by_split in results[cohort]["protocols"].items()
        for split, counts in by_split.items()
    ]
    counted = ["images", "positive", "copies", WITH_RELATIVE]
    columns = ["dataset", "protocol", "split", *counted]
    return pd.DataFrame(rows, columns=columns)


INSIDE, LOWER, HIGHER = "within our interval", "ours is lower", "ours is higher"


def verdicts(published: dict[str, Any], results: Results) -> pd.DataFrame:
    """Each published figure of Tables I to III beside ours under the paper's own protocol.

    Returns:
        Columns `table`, `cohort`, `network`, `metric`, `printed`; `paper` and `leak_free`: our figures with
        `value`, `low` and `high` (missing if not trained); `paper_verdict` and `leak_free_verdict`: `INSIDE`
        if the printed figure lies in our 95 % interval, otherwise `LOWER`, `HIGHER` or `undefined`.
    """
    printed = [
        *(("I", "ph2", f"conv_blocks_{row['depth']}", row) for row in published["table_1"]),
        *(("II", cohort, MAIN_NETWORK, row) for cohort, row in published["table_2"].items()),
        *(("III", "isic", network, row) for network, row in published["table_3"].items()),
    ]
    rows = []
    for table, cohort, network, row in printed:
        found = results.get(cohort, {"networks": {}})["networks"].get(network, {"protocols": {}})
        if "paper" not in found["protocols"]:
            continue
        views = {name: entry["views"][TEST_VIEW] for name, entry in found["protocols"].items()}
        rows += [
            {"table": table, "cohort": cohort, "network": network, "metric": name, "printed": says}
            | {protocol: view[name] for protocol, view in views.items()}
            | {f"{protocol}_verdict": _verdict(says, view[name]) for protocol, view in views.items()}
            for name, says in row.items()
            if name in views["paper"]
        ]
    columns = ["table", "cohort", "network", "metric", "printed"]
    columns += [f"{protocol}{end}" for end in ("", "_verdict") for protocol in NAMES]
    return pd.DataFrame(rows, columns=columns).astype(object)


def _verdict(says: float, ours: dict[str, Any]) -> str:
    if ours["value"] is None or ours["low"] is None or ours["high"] is None:
        return bootstrap.UNDEFINED
    if ours["low"] <= says <= ours["high"]:
        return INSIDE
    return LOWER if ours["value"] < says else HIGHER
