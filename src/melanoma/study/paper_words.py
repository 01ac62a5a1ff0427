"""Where the published figures contradict each other, in plain words: every sentence follows by a rule.

Nothing of the paper is judged here that `published.check` has not computed.
"""

from typing import Any

from melanoma.study.paper_figures import SHOWN, repeats_isic

EXCHANGED = (
    "*Columns exchanged* means here: what is printed as sensitivity is taken for precision, precision for "
    "sensitivity, and specificity for the negative predictive value. That is what comes out where the true "
    "class and the called one change places."
)


def contradictions(checked: dict[str, Any]) -> str:
    """The section about it, as Markdown.

    Args:
        checked: What the stage `paper` wrote: `published` and what `published.check` returns.
    """
    cohorts = checked["stated_counts"]
    parts = [
        "## Where the paper contradicts itself",
        *_failing(checked["checks"]),
        f"Which confusion matrices fit the figures of Table II? {EXCHANGED}",
        *(_of_cohort(checked, cohort) for cohort in cohorts),
        _conclusion(checked),
    ]
    return "\n\n".join(part for part in parts if part)


def figures(entry: dict[str, Any]) -> tuple[str, str]:
    """What a check says and what follows, told apart: shares with four decimals or more, counts without.

    Args:
        entry: One of `checks`; `says` is a float of a share, an int of a count, or a word.
    """
    says, follows = entry["says"], entry["follows"]
    if isinstance(says, str):
        return says, str(follows)
    if isinstance(says, int):
        return f"{says:g}", f"{follows:g}"
    shown = [(f"{says:.{digits}f}", f"{follows:.{digits}f}") for digits in range(4, 17)]
    return next((pair for pair in shown if entry["agrees"] or pair[0] != pair[1]), shown[-1])


def _failing(checks: list[dict[str, Any]]) -> list[str]:
    """The checks that fail: first those that assume nothing, then by what we assume."""
    failing = [entry for entry in checks if not entry["agrees"]]
    plain = [entry for entry in failing if not entry["assumes"]]
    head = (
        f"{len(failing)} of {len(checks)} checks {_verb(len(failing))}: a printed figure does not "
        f"follow from others there. {len(plain)} {_verb(len(plain))} with nothing "
        f"assumed by us{':' if plain else '.'}"
    )
    lines = [head, _bullets(plain)]
    for assumes in dict.fromkeys(entry["assumes"] for entry in failing if entry["assumes"]):
        entries = [entry for entry in failing if entry["assumes"] == assumes]
        more = f"{len(entries)} more {_verb(len(entries))} only if we assume that {assumes}:"
        lines += [more, _bullets(entries)]
    return lines


def _verb(number: int) -> str:
    return "fails" if number == 1 else "fail"


def _bullets(entries: list[dict[str, Any]]) -> str:
    return "\n".join(f"* {entry['claim']}: {' against '.join(figures(entry))}" for entry in entries)


def _of_cohort(checked: dict[str, Any], cohort: str) -> str:
    published = checked["published"]
    stated, own = published["stated"][cohort], published["confusion"][cohort]
    found = checked["stated_counts"][cohort]
    return (
        f"**{cohort}**, of the {stated['num_malignant']} malignant and {stated['num_benign']} benign images "
        f"that the paper states. As printed, {_fit(found['as_printed'], own)}. With the columns exchanged, "
        f"{_fit(found['exchanged'], own)}. With any number of malignant ones, as printed, "
        f"{_any_counts(checked['fitting_counts'][cohort], stated)}."
    )


def _fit(found: dict[str, Any], own: dict[str, int]) -> str:
    """What fits under one reading, and whether it is the paper's `own` matrix."""
    counts, of_all = found["counts"], f"{found['num_fitting']} of the {len(SHOWN)} figures"
    if not counts:
        return f"no confusion matrix gives more than {of_all}"
    relation = "is" if own in counts else "is not"
    described = "; or ".join(map(_matrix, counts))
    if len(counts) == 1:
        return f"one confusion matrix alone gives {of_all}: {described}; it {relation} the paper's own matrix"
    many = f"{len(counts)} confusion matrices give {of_all}"
    return f"{many}: {described}; the paper's own {relation} among them"


def _matrix(counts: dict[str, int]) -> str:
    return (
        f"{counts['true_positives']} malignant images found and {counts['false_negatives']} missed, "
        f"{counts['true_negatives']} benign ones let go and {counts['false_positives']} not"
    )


def _any_counts(fitting: list[dict[str, int]], stated: dict[str, int]) -> str:
    """What fits all four figures, whatever the classes, and whether these are the stated ones."""
    if not fitting:
        return f"no confusion matrix of {sum(stated.values())} images gives all four"
    matrices = "; or ".join(f"{_matrix(one)}, {_against(one, stated)}" for one in fitting)
    return f"all four come from {matrices}"


def _against(counts: dict[str, int], stated: dict[str, int]) -> str:
    num_malignant = counts["true_positives"] + counts["false_negatives"]
    num_benign = counts["false_positives"] + counts["true_negatives"]
    if (num_malignant, num_benign) == (stated["num_malignant"], stated["num_benign"]):
        return "which are the stated numbers"
    return f"which contradicts the stated numbers: it has {num_malignant} malignant and {num_benign} benign"


def _conclusion(checked: dict[str, Any]) -> str:
    """Empty unless all figures of a cohort fit only when exchanged, and those of none only as printed."""
    published, stated = checked["published"], checked["stated_counts"]
    cohorts = _fitting_only(stated, "exchanged", "as_printed")
    if not cohorts or _fitting_only(stated, "as_printed", "exchanged"):
        return ""
    rows = {cohort: published["table_2"][cohort] for cohort in cohorts}
    read = "; ".join(
        f"{cohort} has a sensitivity of {row['ppv']:.4f} and a precision of {row['sensitivity']:.4f}"
        for cohort, row in rows.items()
    )
    tables = "Table II"
    if repeats_isic(published):
        tables += ", and in Table III, whose row of isic has the same figures"
    return (
        f"So the columns of sensitivity and precision are probably exchanged in {tables}, and what is called "
        f"specificity is the negative predictive value: all four figures of {' and '.join(cohorts)} fit the "
        f"stated images only so, those of no cohort only as printed. Read so, {read}."
    )


def _fitting_only(stated: dict[str, Any], reading: str, other: str) -> list[str]:
    """Cohorts all of whose figures fit under one reading and not under the other."""
    return [
        cohort
        for cohort, found in stated.items()
        if found[reading]["num_fitting"] == len(SHOWN) > found[other]["num_fitting"]
    ]
