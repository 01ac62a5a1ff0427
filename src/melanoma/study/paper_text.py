"""Where the published figures contradict each other, as text generated from `paper_figures.check`."""

from typing import Any

from melanoma.study.paper_figures import SHOWN, repeats_isic

EXCHANGED = (
    "*Columns exchanged* means that the printed sensitivity is read as precision, precision as sensitivity, "
    "and specificity as the negative predictive value, as if true and predicted classes had been swapped."
)


def contradictions(checked: dict[str, Any]) -> str:
    """The section about contradictions, as Markdown.

    Args:
        checked: The output of the stage `paper`: `published` and the result of `paper_figures.check`.
    """
    cohorts = checked["stated_counts"]
    parts = [
        "## Contradictions within the paper",
        *_failing(checked["checks"]),
        f"Which confusion matrices are consistent with Table II? {EXCHANGED}",
        *(_of_cohort(checked, cohort) for cohort in cohorts),
        _conclusion(checked),
    ]
    return "\n\n".join(part for part in parts if part)


def format_figures(entry: dict[str, Any]) -> tuple[str, str]:
    """What a check says and what follows, with enough digits to see a difference.

    Args:
        entry: One of `checks`; `says` is a float for a fraction, an int for a count, or a word.

    Returns:
        Fractions with at least four decimals, counts without.
    """
    says, follows = entry["says"], entry["follows"]
    if isinstance(says, str):
        return says, str(follows)
    if isinstance(says, int):
        return f"{says:g}", f"{follows:g}"
    shown = [(f"{says:.{digits}f}", f"{follows:.{digits}f}") for digits in range(4, 17)]
    return next((pair for pair in shown if entry["agrees"] or pair[0] != pair[1]), shown[-1])


def _failing(checks: list[dict[str, Any]]) -> list[str]:
    """The failed checks: first those without assumptions, then by assumption."""
    failing = [entry for entry in checks if not entry["agrees"]]
    plain = [entry for entry in failing if not entry["assumes"]]
    head = (
        f"{len(failing)} of {len(checks)} checks {_verb(len(failing))}: a printed figure does not "
        f"follow from others. {len(plain)} {_verb(len(plain))} without any assumption of ours"
        f"{':' if plain else '.'}"
    )
    lines = [head, _bullets(plain)]
    for assumes in dict.fromkeys(entry["assumes"] for entry in failing if entry["assumes"]):
        entries = [entry for entry in failing if entry["assumes"] == assumes]
        more = f"{len(entries)} more {_verb(len(entries))} under the assumption that {assumes}:"
        lines += [more, _bullets(entries)]
    return lines


def _verb(number: int) -> str:
    return "fails" if number == 1 else "fail"


def _bullets(entries: list[dict[str, Any]]) -> str:
    return "\n".join(f"* {entry['claim']}: {' against '.join(format_figures(entry))}" for entry in entries)


def _of_cohort(checked: dict[str, Any], cohort: str) -> str:
    published = checked["published"]
    stated, own = published["stated"][cohort], published["confusion"][cohort]
    found = checked["stated_counts"][cohort]
    return (
        f"**{cohort}**, with the stated {stated['num_malignant']} malignant and {stated['num_benign']} "
        f"benign images: as printed, {_fit(found['as_printed'], own)}; with the columns exchanged, "
        f"{_fit(found['exchanged'], own)}. With any other class counts, as printed, "
        f"{_any_counts(checked['fitting_counts'][cohort], stated)}."
    )


def _fit(found: dict[str, Any], own: dict[str, int]) -> str:
    """The matrices that fit under one reading, and whether the paper's `own` is among them."""
    counts, of_all = found["counts"], f"{found['num_fitting']} of the {len(SHOWN)} figures"
    if not counts:
        return f"no confusion matrix gives more than {of_all}"
    relation = "is" if own in counts else "is not"
    described = "; or ".join(map(_matrix, counts))
    if len(counts) == 1:
        return (
            f"exactly one confusion matrix gives {of_all} ({described}); it {relation} the paper's own matrix"
        )
    many = f"{len(counts)} confusion matrices give {of_all}"
    return f"{many} ({described}); the paper's own {relation} among them"


def _matrix(counts: dict[str, int]) -> str:
    return (
        f"true positives {counts['true_positives']}, false negatives {counts['false_negatives']}, "
        f"true negatives {counts['true_negatives']}, false positives {counts['false_positives']}"
    )


def _any_counts(fitting: list[dict[str, int]], stated: dict[str, int]) -> str:
    """The matrices that give all four figures with any class counts, and whether these are as stated."""
    if not fitting:
        return f"no confusion matrix of {sum(stated.values())} images gives all four"
    matrices = "; or ".join(f"{_matrix(one)}, {_against(one, stated)}" for one in fitting)
    return f"all four figures follow from {matrices}"


def _against(counts: dict[str, int], stated: dict[str, int]) -> str:
    num_malignant = counts["true_positives"] + counts["false_negatives"]
    num_benign = counts["false_positives"] + counts["true_negatives"]
    if (num_malignant, num_benign) == (stated["num_malignant"], stated["num_benign"]):
        return "which has the stated class counts"
    return f"which contradicts the stated counts: {num_malignant} malignant and {num_benign} benign images"


def _conclusion(checked: dict[str, Any]) -> str:
    """Empty unless all figures of a cohort fit only if exchanged, and those of no cohort only as printed."""
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
        tables += " and in Table III, whose row for isic has the same figures"
    return (
        f"The columns for sensitivity and precision are therefore probably exchanged in {tables}, and what "
        "is called specificity is the negative predictive value: all four figures of "
        f"{' and '.join(cohorts)} fit the stated class counts only in this reading, those of no cohort only "
        f"as printed. In this reading, {read}."
    )


def _fitting_only(stated: dict[str, Any], reading: str, other: str) -> list[str]:
    """Cohorts whose figures all fit under one reading but not under the other."""
    return [
        cohort
        for cohort, found in stated.items()
        if found[reading]["num_fitting"] == len(SHOWN) > found[other]["num_fitting"]
    ]
