"""The study in plain words, as Markdown: every number comes from result files, every verdict from a rule."""

from typing import Any

import pandas as pd

from melanoma.data.markdown import markdown
from melanoma.evaluation import study_tables
from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.repeats import MIN_NETWORKS
from melanoma.evaluation.study_results import BALANCED_VIEW, TEST_VIEW
from melanoma.evaluation.study_tables import HEADINGS, MAIN_NETWORK, Results
from melanoma.schema import NOT_A_DEVICE

NOT_RUN = """No cohort was studied yet. `make study` trains the networks (hours on a CPU; it goes on where it
was stopped); until then only the published figures are here."""

WHAT_DIFFERS = """The same network and the same recipe, on images of the same cohort. What differs is the
protocol as a whole. Under the paper's, which balances by copies before it splits, warped copies of a lesion
lie in training and in test (the leak), benign images are given up for them, and half of training, validation
and test is malignant. Leak-free, all images stay as they were found, and training draws both classes equally
often. A test that is half malignant raises precision and F1, whatever the network, and moves accuracy; AUC it
leaves as it is. So no difference here is of the leak alone."""
LIMITS = """\
* The paper's collections (UDA-2_1 and MSK-1_1 of the ISIC Archive, 2,650 images) were not at hand; `isic`
  here is another part of the archive. PH2 is the same 200 images.
* The paper does not say how it balanced. Its test sets are a fifth of all images and balanced, so the total
  was kept: the larger class loses images, the smaller one is filled up with warped copies. Nor does it give
  its learning rate, which epoch it kept, or the numbers of filters beyond the first block.
* Small tests make wide intervals; a printed figure inside one is not thereby right."""


def page(checked: dict[str, Any], results: Results) -> str:
    """The whole page.

    Args:
        checked: What the stage `paper` wrote: `published`, `checks`, `fitting_counts`.
        results: By cohort: what `study` wrote.
    """
    published = checked["published"]
    parts = [_head(published, results)]
    if results:
        verdicts = study_tables.verdicts(published, results)
        parts += [
            _reproduced(verdicts),
            _protocol(results),
            _depth(published, results.get("ph2")),
            _vgg(results.get("isic")),
        ]
    parts += [_contradictions(checked), _limits(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(published: dict[str, Any], results: Results) -> str:
    lines = [
        "# The paper, rebuilt and tested",
        f"Made by the stage `compare` from the runs; {NOT_A_DEVICE}.",
        f"Rebuilt here: {published['source'].strip()}.",
    ]
    if not results:
        return "\n\n".join([*lines, NOT_RUN])
    for cohort in study_tables.ordered(results):
        result = results[cohort]
        kind = "**synthetic images**" if result["is_synthetic"] else "real images"
        seeds = len(result["seeds"])
        lines.append(
            f"`{cohort}`: {kind}, {seeds} network{'s' if seeds > 1 else ''} of each kind, at most "
            f"{result['max_num_epochs']} epochs (stopped after {result['patience']} without a better one), "
            f"code {str(result['git_commit'])[:10]}, data {str(result['data_digest'])[:10]}."
        )
    lines.append(
        "Numbers in brackets are 95 % intervals: a bootstrap over groups of test images and over networks "
        "together. Malignant is called from a probability of 0.5 on, as a sigmoid is usually read."
    )
    return "\n\n".join(lines)


def _reproduced(verdicts: pd.DataFrame) -> str:
    lines = ["## What was reproduced, and what not"]
    if verdicts.empty:
        return "\n\n".join([*lines, "No network of the published tables was trained under its protocol."])
    counts = verdicts["verdict"].value_counts()
    parts = [
        f"{counts.get('reproduced', 0)} lie in our 95 % interval",
        f"{counts.get('ours is lower', 0)} are above it",
        f"{counts.get('ours is higher', 0)} below it",
    ]
    lines.append(
        f"Of the {len(verdicts)} printed figures of Tables I to III that we have trained networks for, under "
        f"the paper's *own* protocol: {', '.join(parts)}. (Above means that the paper printed more than our "
        "interval allows; of a loss, more is worse.)"
    )
    shown = verdicts.assign(
        metric=verdicts["metric"].map(HEADINGS),
        ours=[in_words(row) for row in _entries(verdicts)],
    )
    columns = ["table", "what", "metric", "printed", "ours", "verdict"]
    text = shown[columns].assign(printed=shown["printed"].map("{:.4f}".format))
    return "\n\n".join([*lines, markdown(text)])


def _entries(verdicts: pd.DataFrame) -> list[dict[str, float | None]]:
    keys = ("value", "low", "high")
    return [
        dict(zip(keys, row, strict=True)) for row in verdicts[list(keys)].astype(float).to_numpy().tolist()
    ]


def _protocol(results: Results) -> str:
    lines = ["## How much the protocol alone adds", WHAT_DIFFERS]
    for cohort in study_tables.ordered(results):
        entry = results[cohort]["networks"].get(MAIN_NETWORK)
        if entry is None or {"paper", "leak_free"} - set(entry["protocols"]):
            continue
        lines.append(_protocol_of(cohort, entry, results[cohort]["protocols"]["paper"]["test"]))
    return "\n\n".join(lines)


def _protocol_of(cohort: str, entry: dict[str, Any], counts: dict[str, int]) -> str:
    paper, free = (entry["protocols"][name]["views"] for name in ("paper", "leak_free"))
    difference = entry["paper_minus_leak_free"]
    of_auc = difference[TEST_VIEW]["auc_roc"]
    share = counts["num_with_relative"] / counts["num_images"]
    text = (
        f"**{cohort}**, three blocks: AUC {in_words(paper[TEST_VIEW]['auc_roc'])} under the paper's protocol "
        f"and {in_words(free[TEST_VIEW]['auc_roc'])} leak-free; the protocol alone adds "
        f"{in_words(of_auc)}{_meaning(of_auc)}. Accuracy: "
        f"{in_words(paper[TEST_VIEW]['accuracy'])} and {in_words(free[TEST_VIEW]['accuracy'])}. "
        f"Of the {counts['num_images']} test images of the paper's protocol {counts['num_with_relative']} "
        f"({share:.0%}) have a relative in training or validation, and {counts['num_copies']} are made."
    )
    with_relatives = paper.get(f"{TEST_VIEW}_with_relatives")
    without = paper.get(f"{TEST_VIEW}_without_relatives")
    if with_relatives and without:
        text += (
            f" Sensitivity is {in_words(with_relatives['sensitivity'])} where there is a relative and "
            f"{in_words(without['sensitivity'])} where there is none "
            f"({without['num_malignant']} malignant images)."
        )
    if BALANCED_VIEW in difference:
        text += (
            " Against the leak-free test, balanced by copies *after* the split, so that both tests hold "
            f"copies, the difference of AUC is {in_words(difference[BALANCED_VIEW]['auc_roc'])}."
        )
    return text


def _meaning(entry: dict[str, float]) -> str:
    """Whether an interval of a difference leaves zero out."""
    if entry["low"] is None:
        return ""
    if entry["low"] > 0:
        return ", more than chance"
    if entry["high"] < 0:
        return ", less than nothing"
    return ", which may be chance"


def _depth(published: dict[str, Any], ph2: dict[str, Any] | None) -> str:
    if ph2 is None:
        return ""
    printed = max(published["table_1"], key=lambda row: row["f1_score"])
    lines = [
        "## Are three layers the best?",
        f"In the paper's Table I {printed['depth']} layers have the highest F1, {printed['f1_score']:.3f}.",
    ]
    for protocol, name in study_tables.NAMES.items():
        found = {
            entry["depth"]: entry["protocols"][protocol]["views"][TEST_VIEW]
            for entry in ph2["networks"].values()
            if entry["family"] == "conv_blocks" and protocol in entry["protocols"]
        }
        if found:
            lines.append(_best_depth(name, found, printed["depth"]))
    return "\n\n".join(lines)


def _best_depth(name: str, found: dict[int, dict[str, Any]], printed: int) -> str:
    """Which depth is best, and which others its interval does not tell from it."""
    defined = {depth: view for depth, view in found.items() if view["f1_score"]["value"] is not None}
    if not defined:
        return f"{name}: no F1 is defined."
    best = max(defined, key=lambda depth: defined[depth]["f1_score"]["value"])
    low = defined[best]["f1_score"]["low"]
    close = [depth for depth, view in defined.items() if depth != best and view["f1_score"]["high"] >= low]
    text = f"{name}: F1 is highest with {best}, {in_words(defined[best]['f1_score'])}"
    if printed in defined and printed != best:
        text += f"; with {printed} it is {in_words(defined[printed]['f1_score'])}"
    overlapping = ", ".join(map(str, close)) or "none"
    return f"{text}. Depths whose intervals overlap with the best one's: {overlapping}."


def _vgg(isic: dict[str, Any] | None) -> str:
    names = study_tables.COMPARED
    if isic is None or set(names) - set(isic["networks"]):
        return ""
    lines = ["## Against VGG-16"]
    for protocol, whose in study_tables.NAMES.items():
        views = {
            text: isic["networks"][network]["protocols"][protocol]["views"][TEST_VIEW]
            for network, text in names.items()
            if protocol in isic["networks"][network]["protocols"]
        }
        if not views:
            continue
        areas = ", ".join(f"{text} {in_words(view['auc_roc'])}" for text, view in views.items())
        shares = ", ".join(f"{text} {in_words(view['accuracy'])}" for text, view in views.items())
        lines.append(f"{whose}: AUC {areas}; accuracy {shares}.")
    return "\n\n".join(lines)


def _contradictions(checked: dict[str, Any]) -> str:
    checks = checked["checks"]
    failing = [entry for entry in checks if not entry["agrees"]]
    lines = [
        "## Where the paper contradicts itself",
        f"{len(failing)} of {len(checks)} checks fail: a printed figure does not follow from others there.",
        "\n".join(
            f"* {entry['claim']}: {entry['says']:g} against {entry['follows']:.4g}" for entry in failing
        ),
    ]
    for cohort, fitting in checked["fitting_counts"].items():
        total = sum(checked["published"]["stated"][cohort].values())
        lines.append(f"Table II, {cohort}: {_fitting_in_words(fitting, total)}")
    return "\n\n".join(lines)


def _fitting_in_words(fitting: list[dict[str, int]], num_images: int) -> str:
    if not fitting:
        return f"no confusion matrix of {num_images} images gives its four figures."
    described = "; ".join(
        f"{one['true_positives']} malignant images found and {one['false_negatives']} missed, "
        f"{one['true_negatives']} benign ones let go and {one['false_positives']} not"
        for one in fitting
    )
    return f"its four figures fit {num_images} images in {len(fitting)} way(s): {described}."


def _limits(results: Results) -> str:
    text = f"## What this does not say\n\n{LIMITS}"
    few = [
        f"{cohort}, {network}, {protocol}"
        for cohort, result in results.items()
        for network, entry in result["networks"].items()
        for protocol, found in entry["protocols"].items()
        if len(found["runs"]) < MIN_NETWORKS
    ]
    if few:
        text += f"\n* Fewer than {MIN_NETWORKS} networks, so their spread is hardly known: {'; '.join(few)}."
    return text
