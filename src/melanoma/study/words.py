"""The study in plain words, as Markdown: every number comes from result files, every verdict from a rule."""

from typing import Any

import numpy as np
import pandas as pd

from melanoma.evaluation.bootstrap import UNDEFINED, in_words, number_in_words
from melanoma.markdown import markdown
from melanoma.schema import NOT_A_DEVICE
from melanoma.study import paper_words, tables
from melanoma.study.repeats import MIN_NETWORKS
from melanoma.study.results import BALANCED_VIEW, MAIN_NETWORK, TEST_VIEW
from melanoma.study.tables import HEADINGS, Results

NOT_RUN = """No cohort was studied yet. `make study` trains the networks (hours on a CPU; it goes on where it
was stopped); until then only the published figures are here."""

WHAT_DIFFERS = """The same network and the same recipe, on images of the same cohort. What differs is the
protocol as a whole. Under the paper's, which balances by copies before it splits, warped copies of a lesion
lie in training and in test (the leak), benign images are given up for them, and half of training, validation
and test is malignant. Leak-free, all images stay as they were found, and training draws both classes equally
often. A test that is half malignant raises precision and F1, whatever the network, and moves accuracy; AUC it
leaves as it is. So no difference here is of the leak alone.

Each protocol was split once. An interval knows of other test images and other networks, not of other splits:
what one split's test side gives or takes stands in the difference too. The validation sides tell more of it.
By them the epoch was kept, so they flatter both, and under the paper's protocol they hold relatives of
training images as its test does; no interval is given. `joint` holds all images of `isic` and `ph2`: it is
no third proof."""
LIMITS = """\
* The paper's collections (UDA-2_1 and MSK-1_1 of the ISIC Archive, 2,650 images) were not at hand as a whole;
  `isic` here is another part of the archive. PH2 is the same 200 images.
* The paper does not say how it balanced. Its test sets are a fifth of all images and balanced, so the total
  was kept: the larger class loses images, the smaller one is filled up with warped copies. Nor does it give
  its learning rate, which epoch it kept, or the numbers of filters beyond the first block.
* Small tests make wide intervals; a printed figure inside one is not thereby right."""


def page(checked: dict[str, Any], results: Results) -> str:
    """The whole page.

    Args:
        checked: What the stage `paper` wrote: `published` and what `published.check` returns.
        results: By cohort: what `study` wrote.
    """
    published = checked["published"]
    parts = [_head(published, results)]
    if results:
        verdicts = tables.verdicts(published, results)
        parts += [
            _held_against(verdicts),
            _protocol(results),
            _depth(published, results.get("ph2")),
            _vgg(results.get("isic")),
        ]
    parts += [paper_words.contradictions(checked), _limits(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(published: dict[str, Any], results: Results) -> str:
    lines = [
        "# The paper, rebuilt and tested",
        f"Made by the stage `compare` from the runs; {NOT_A_DEVICE}.",
        f"Rebuilt here: {published['source'].strip()}.",
    ]
    if not results:
        return "\n\n".join([*lines, NOT_RUN])
    for cohort in tables.ordered(results):
        result = results[cohort]
        kind = "**synthetic images**" if result["is_synthetic"] else "real images"
        seeds = len(result["seeds"])
        lines.append(
            f"`{cohort}`: {kind}, {seeds} network{'s' if seeds > 1 else ''} of each kind, at most "
            f"{result['max_num_epochs']} epochs (stopped after {result['patience']} without a better one), "
            f"{_code(result)}, data {str(result['data_digest'])[:10]}."
        )
    lines.append(
        "Numbers in brackets are 95 % intervals: a bootstrap over groups of test images and over networks "
        "together. Malignant is called from a probability of 0.5 on, as a sigmoid is usually read."
    )
    return "\n\n".join(lines)


def _code(result: dict[str, Any]) -> str:
    """The commits of which networks were trained; one whose working tree had changes is marked."""
    by_code: dict[str, list[str]] = {}
    for name, entry in result["networks"].items():
        for found in entry["protocols"].values():
            for run in found["runs"]:
                dirty = " with changes" if run["git_dirty"] == "True" else ""
                names = by_code.setdefault(f"{str(run['git_commit'])[:10]}{dirty}", [])
                if name not in names:
                    names.append(name)
    if len(by_code) == 1:
        return f"code {next(iter(by_code))}"
    return "code " + ", ".join(f"{code} ({', '.join(names)})" for code, names in by_code.items())


def _held_against(verdicts: pd.DataFrame) -> str:
    lines = ["## Which printed figures lie in our intervals"]
    if verdicts.empty:
        return "\n\n".join([*lines, "No network of the published tables was trained under its protocol."])
    lines += [_counted(verdicts), _widths(verdicts)]
    shown = pd.DataFrame(
        {
            "table": verdicts["table"],
            "what": verdicts["cohort"] + ", " + verdicts["network"],
            "metric": verdicts["metric"].map(HEADINGS),
            "printed": verdicts["printed"].map("{:.4f}".format),
            **{
                name: [_judged(*row) for row in zip(verdicts[key], verdicts[f"{key}_verdict"], strict=True)]
                for key, name in tables.NAMES.items()
            },
        }
    )
    return "\n\n".join([*lines, markdown(shown)])


def _judged(entry: object, verdict: object) -> str:
    """Our figure and its verdict; nothing where it was not trained."""
    return f"{in_words(entry)}: {verdict}" if isinstance(entry, dict) else ""


def _counted(verdicts: pd.DataFrame) -> str:
    sentences = []
    for protocol, whose in (("paper", "the paper's *own* protocol"), ("leak_free", "the leak-free one")):
        found = verdicts[f"{protocol}_verdict"].dropna()
        if len(found):
            counts = found.value_counts()
            parts = [f"{counts.get(tables.INSIDE, 0)} lie in our 95 % interval"]
            parts += [
                f"{counts[verdict]} {text}"
                for verdict, text in (
                    (tables.LOWER, "are above it"),
                    (tables.HIGHER, "below it"),
                    (UNDEFINED, "of ours are undefined"),
                )
                if verdict in counts
            ]
            sentences.append(f"under {whose} {', '.join(parts)}")
    return (
        f"Of the {len(verdicts)} printed figures of Tables I to III that we have trained networks for, "
        f"{'; '.join(sentences)}. (Above: the paper printed more than our interval allows; of a loss, more "
        "is worse. Where every network was right on every image that counts, the bootstrap has no "
        "spread, and the interval ends 3/n below, n being the groups of such images. Printed figures are "
        "taken as they stand in their columns; see below which of these are probably exchanged.)"
    )


def _widths(verdicts: pd.DataFrame) -> str:
    """How much an interval can tell: by cohort their mean width, losses apart."""
    shares = verdicts[verdicts["metric"] != "log_loss"].drop_duplicates(["cohort", "network", "metric"])
    low, high = (np.array([entry[end] for entry in shares["paper"]], float) for end in ("low", "high"))
    by_cohort = pd.Series(high - low, index=shares["cohort"]).groupby(level=0, sort=False).mean()
    said = ", ".join(f"{number_in_words(width)} on {cohort}" for cohort, width in by_cohort.items())
    return (
        f"Mean width of these intervals under the paper's protocol: {said}. In a wide one a figure may lie "
        "by chance, and whatever the depth of the network: to lie inside is not to be confirmed."
    )


def _protocol(results: Results) -> str:
    lines = ["## How much the protocol adds", WHAT_DIFFERS]
    for cohort in tables.ordered(results):
        entry = results[cohort]["networks"].get(MAIN_NETWORK)
        if entry is None or {"paper", "leak_free"} - set(entry["protocols"]):
            continue
        lines.append(_protocol_of(cohort, entry, results[cohort]["protocols"]["paper"]["test"]))
    return "\n\n".join(lines)


def _protocol_of(cohort: str, entry: dict[str, Any], counts: dict[str, int]) -> str:
    paper, free = (entry["protocols"][name] for name in ("paper", "leak_free"))
    views, tested, difference = paper["views"], free["views"][TEST_VIEW], entry["paper_minus_leak_free"]
    both, of_auc = (views[TEST_VIEW], tested), difference[TEST_VIEW]["auc_roc"]
    of_paper, of_free = (in_words(view["auc_roc"]) for view in both)
    accuracy, floor = ([of(view) for view in both] for of in (_accuracy, _floor))
    sentences = [
        f"**{cohort}**, three blocks: AUC {of_paper} under the paper's protocol and {of_free} leak-free,",
        f"a difference of {in_words(of_auc)}{_meaning(of_auc)}.",
        _on_validation(paper, free),
        f"Accuracy: {' and '.join(accuracy)}, where calling every image benign gives {' and '.join(floor)}.",
        f"F1: a difference of {in_words(difference[TEST_VIEW]['f1_score'])}.",
        _relatives(counts),
        _by_relatives(views),
        _balanced(difference.get(BALANCED_VIEW)),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _accuracy(view: dict[str, Any]) -> str:
    return in_words(view["accuracy"])


def _floor(view: dict[str, Any]) -> str:
    return number_in_words(1 - view["num_malignant"] / view["num_images"])


def _relatives(counts: dict[str, int]) -> str:
    number = counts["num_with_relative"]
    return (
        f"Of the {counts['num_images']} test images of the paper's protocol {number} "
        f"({number / counts['num_images']:.0%}) have a relative in training or validation, and "
        f"{counts['num_copies']} are made."
    )


def _balanced(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return ""
    return (
        "Against the leak-free test, balanced by copies *after* the split, so that both tests hold copies "
        f"and are half malignant, the difference of AUC is {in_words(difference['auc_roc'])}, of F1 "
        f"{in_words(difference['f1_score'])}."
    )


def _on_validation(paper: dict[str, Any], free: dict[str, Any]) -> str:
    of_paper, of_free = tables.on_validation(paper), tables.on_validation(free)
    return (
        f"On validation it is {number_in_words(of_paper)} and {number_in_words(of_free)}, a difference of "
        f"{number_in_words(of_paper - of_free)}."
    )


def _by_relatives(views: dict[str, Any]) -> str:
    """Sensitivity with and without relatives, where both rest on enough images."""
    names = [f"{TEST_VIEW}_{kind}_relatives" for kind in ("with", "without")]
    if set(names) - set(views):
        return ""
    said = [tables.in_words(views[name], "sensitivity") for name in names]
    if tables.TOO_FEW in said:
        return ""
    return (
        f"Sensitivity is {said[0]} where there is a relative and {said[1]} where there is none "
        f"({views[names[1]]['num_malignant_groups']} groups of malignant images)."
    )


def _meaning(entry: dict[str, float]) -> str:
    """Whether an interval of a difference leaves zero out."""
    if entry["low"] is None:
        return ""
    if entry["low"] > 0:
        return ", more than chance among these test images"
    if entry["high"] < 0:
        return ", less than nothing"
    return ", not told from none on these test images"


def _depth(published: dict[str, Any], ph2: dict[str, Any] | None) -> str:
    if ph2 is None:
        return ""
    printed = max(published["table_1"], key=lambda row: row["f1_score"])
    lines = [
        "## Are three layers the best?",
        f"In the paper's Table I {printed['depth']} layers have the highest F1, {printed['f1_score']:.3f}.",
    ]
    for protocol, name in tables.NAMES.items():
        found = {
            entry["depth"]: entry["protocols"][protocol]["views"][TEST_VIEW]
            for entry in ph2["networks"].values()
            if entry["family"] == "conv_blocks" and protocol in entry["protocols"]
        }
        if found:
            lines.append(_best_depth(name, found, printed["depth"]))
            lines.append(_less_three(ph2, protocol))
    return "\n\n".join(line for line in lines if line)


def _less_three(ph2: dict[str, Any], protocol: str) -> str:
    """F1 of each other depth less that of three layers, on the same images."""
    said = [
        f"{entry['depth']} {in_words(entry['minus_main'][protocol]['f1_score'])}"
        for entry in ph2["networks"].values()
        if entry["family"] == "conv_blocks" and protocol in entry["minus_main"]
    ]
    return f"F1 less that of 3, on the same images: {'; '.join(said)}." if said else ""


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
    names = tables.COMPARED
    if isic is None or set(names) - set(isic["networks"]):
        return ""
    vgg = isic["networks"]["vgg16_5"]
    lines = ["## Against VGG-16"]
    if vgg["is_frozen"]:
        lines.append(
            "Its blocks have weights learnt elsewhere and are frozen; only its end was trained here."
        )
    for protocol, whose in tables.NAMES.items():
        views = {
            text: isic["networks"][network]["protocols"][protocol]["views"][TEST_VIEW]
            for network, text in names.items()
            if protocol in isic["networks"][network]["protocols"]
        }
        if not views:
            continue
        areas = ", ".join(f"{text} {in_words(view['auc_roc'])}" for text, view in views.items())
        shares = ", ".join(f"{text} {in_words(view['accuracy'])}" for text, view in views.items())
        text = f"{whose}: AUC {areas}; accuracy {shares}."
        if protocol in vgg["minus_main"]:
            text += f" AUC of VGG-16 less three blocks: {in_words(vgg['minus_main'][protocol]['auc_roc'])}."
        lines.append(text)
    return "\n\n".join(lines)


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
