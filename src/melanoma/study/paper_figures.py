"""The published figures from `paper_figures.yaml`, and whether they agree with each other."""

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from melanoma.config import read_yaml
from melanoma.evaluation.metrics import confusion_metrics

SHOWN = ("accuracy", "sensitivity", "specificity", "ppv")
COUNTS = ("true_positives", "false_negatives", "false_positives", "true_negatives")

# The metric that each printed column is read as. `exchanged` is what follows if true and predicted classes
# were swapped; the paper's conclusions describe specificity as what is called negative predictive value here.
READINGS = {
    "as_printed": {name: name for name in SHOWN},
    "exchanged": {"accuracy": "accuracy", "sensitivity": "ppv", "specificity": "npv", "ppv": "sensitivity"},
}
MIN_FITTING = 3  # of four figures; too many matrices fit fewer

ON_TEST_IMAGES = "Table I was measured on the same images as Table II and the confusion matrices"
NO_COPIES = (
    "no augmented image was tested, although the paper balances by augmentation, and PH2 has the number of "
    "melanomas that its authors state, which the paper does not mention"
)


def load() -> dict[str, Any]:
    """The content of `paper_figures.yaml`."""
    with resources.as_file(resources.files("melanoma.study") / "paper_figures.yaml") as path:
        return read_yaml(Path(path))


def check(published: dict[str, Any], *, tolerance: float) -> dict[str, Any]:
    """Check every claim against what follows from other printed figures.

    Args:
        published: From `load`.
        tolerance: Maximum difference of two figures that agree: one unit of the last digit, because some are
            truncated instead of rounded.

    Returns:
        `checks`: a list of `topic`, `claim`, `says`, `follows`, `agrees` and `assumes` (an assumption of ours
        that the check needs, or empty). By cohort, `fitting_counts`: the confusion matrices of the test set's
        size that Table II could come from; and `stated_counts`: see the function of this name.
    """
    checks = [
        *_kinds_of_data(published),
        *_tables_against_matrices(published, tolerance),
        *_matrices_against_text(published),
        *_f1_scores(published, tolerance),
        *_table_1_against_table_2(published, tolerance),
        *_image_counts(published),
    ]
    fitting = {
        cohort: fitting_counts(row, sum(published["stated"][cohort].values()), tolerance=tolerance)
        for cohort, row in published["table_2"].items()
    }
    stated = {
        cohort: stated_counts(row, published["stated"][cohort], tolerance=tolerance)
        for cohort, row in published["table_2"].items()
    }
    return {"checks": checks, "fitting_counts": fitting, "stated_counts": stated}


def repeats_isic(published: dict[str, Any]) -> bool:
    """Whether Tables II and III print the same figures for ISIC in the columns that both have."""
    row = published["table_3"]["conv_blocks_3"]
    return all(row[name] == says for name, says in published["table_2"]["isic"].items() if name in row)


def metrics_of(counts: dict[str, int]) -> dict[str, float]:
    """Metrics of a confusion matrix with the keys `COUNTS`."""
    found = confusion_metrics({name: np.array([float(counts[name])]) for name in COUNTS})
    return {name: float(value[0]) for name, value in found.items()}


def fitting_counts(row: dict[str, float], num_images: int, *, tolerance: float) -> list[dict[str, int]]:
    """All confusion matrices of `num_images` images that give these four figures.

    Args:
        row: `accuracy`, `sensitivity`, `specificity` and `ppv`.
        num_images: Size of the test set.
        tolerance: Maximum difference of each figure.
    """
    found = []
    for num_malignant in range(1, num_images):
        num_benign = num_images - num_malignant
        for tp in _near(row["sensitivity"], num_malignant, tolerance):
            for tn in _near(row["specificity"], num_benign, tolerance):
                counts = dict(zip(COUNTS, (tp, num_malignant - tp, num_benign - tn, tn), strict=True))
                metrics = metrics_of(counts)
                if all(abs(metrics[name] - row[name]) <= tolerance for name in SHOWN):
                    found.append(counts)
    return found


def stated_counts(
    row: dict[str, float], stated: dict[str, int], *, tolerance: float
) -> dict[str, dict[str, Any]]:
    """The confusion matrices with the stated class counts that fit the most of four figures.

    Args:
        row: `accuracy`, `sensitivity`, `specificity` and `ppv`, as printed.
        stated: `num_malignant` and `num_benign` of the test set.
        tolerance: Maximum difference of each figure.

    Returns:
        For each of `READINGS`: `num_fitting`, the most figures that any matrix gives, 0 to 4; and `counts`,
        all matrices that give that many, or none if `num_fitting` is below `MIN_FITTING`.
    """
    num_malignant, num_benign = stated["num_malignant"], stated["num_benign"]
    tp, tn = np.divmod(np.arange((num_malignant + 1) * (num_benign + 1)), num_benign + 1)
    counts = np.stack([tp, num_malignant - tp, num_benign - tn, tn], axis=1)  # (num_matrices, 4)
    metrics = confusion_metrics(dict(zip(COUNTS, counts.T.astype(float), strict=True)))
    best = {}
    for reading, names in READINGS.items():
        fits = [np.abs(metrics[names[name]] - row[name]) <= tolerance for name in SHOWN]
        num_fitting = np.sum(fits, axis=0)  # (num_matrices,)
        most = int(num_fitting.max())
        chosen = counts[num_fitting == most].tolist() if most >= MIN_FITTING else []
        matrices = [dict(zip(COUNTS, one, strict=True)) for one in chosen]
        best[reading] = {"num_fitting": most, "counts": matrices}
    return best


def _near(share: float, total: int, tolerance: float) -> list[int]:
    """The counts whose fraction of `total` is `share`."""
    guesses = {int(share * total), int(share * total) + 1}
    return sorted(count for count in guesses if count <= total and abs(count / total - share) <= tolerance)


def _entry(
    topic: str, claim: str, says: float | str, follows: float | str, *, agrees: bool, assumes: str = ""
) -> dict[str, Any]:
    return {
        "topic": topic,
        "claim": claim,
        "says": says,
        "follows": follows,
        "agrees": agrees,
        "assumes": assumes,
    }


def _kinds_of_data(published: dict[str, Any]) -> list[dict[str, Any]]:
    """The same figures must have been measured on the same kind of data."""
    says, follows = published["kinds"]["table_2"], published["kinds"]["table_3"]
    agrees = says == follows or not repeats_isic(published)
    claim = "kind of data of the same figures of isic, by the titles of Table II and of Table III"
    return [_entry("titles of tables", claim, says, follows, agrees=agrees)]


def _tables_against_matrices(published: dict[str, Any], tolerance: float) -> list[dict[str, Any]]:
    rows = []
    for cohort, counts in published["confusion"].items():
        follows = metrics_of(counts)
        for name in SHOWN:
            says = published["table_2"][cohort][name]
            agrees = abs(says - follows[name]) <= tolerance
            tables = _tables_with(published, cohort, name)
            printed = "Tables II and III" if "table_3" in tables else "Table II"
            claim = f"{name} of {cohort}: {printed}, and its own confusion matrix"
            topic, assumes = "table against confusion matrix", _same_images(published["kinds"], tables)
            rows.append(_entry(topic, claim, says, follows[name], agrees=agrees, assumes=assumes))
    return rows


def _tables_with(published: dict[str, Any], cohort: str, name: str) -> list[str]:
    """The tables that print this figure."""
    in_table_3 = cohort == "isic" and name in published["table_3"]["conv_blocks_3"]
    return ["table_2", "table_3"] if in_table_3 and repeats_isic(published) else ["table_2"]


def _same_images(kinds: dict[str, str], tables: list[str]) -> str:
    """The assumption that tables and matrices use the same images; empty if the titles say so."""
    if kinds["confusion"] in [kinds[table] for table in tables]:
        return ""
    return (
        f"Table II ({kinds['table_2']}, by its title) was measured on the images of the matrices "
        f"({kinds['confusion']})"
    )


def _matrices_against_text(published: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for cohort, counts in published["confusion"].items():
        for name, parts in (
            ("num_malignant", ("true_positives", "false_negatives")),
            ("num_benign", ("false_positives", "true_negatives")),
        ):
            says, placed = published["stated"][cohort][name], sum(counts[part] for part in parts)
            claim = f"{name} of the test set of {cohort}: stated, and in the confusion matrix"
            rows.append(_entry("image counts", claim, says, placed, agrees=says == placed))
    return rows


def _f1_scores(published: dict[str, Any], tolerance: float) -> list[dict[str, Any]]:
    rows = []
    for row in published["table_1"]:
        follows = 2 * row["ppv"] * row["sensitivity"] / (row["ppv"] + row["sensitivity"])
        agrees = abs(row["f1_score"] - follows) <= tolerance
        claim = f"F1 at depth {row['depth']}: printed, and from precision and recall"
        rows.append(_entry("Table I", claim, row["f1_score"], follows, agrees=agrees))
    return rows


def _table_1_against_table_2(published: dict[str, Any], tolerance: float) -> list[dict[str, Any]]:
    """Both tables contain the same network on the same data; and fractions of 20 images are twentieths."""
    three, ph2 = published["table_1"][2], published["table_2"]["ph2"]
    num_malignant = published["stated"]["ph2"]["num_malignant"]
    rows = []
    for name in ("sensitivity", "ppv"):
        agrees = abs(three[name] - ph2[name]) <= tolerance
        claim = f"{name} of three layers on PH2: Table I, and Table II"
        topic = "Table I against Table II"
        rows.append(_entry(topic, claim, three[name], ph2[name], agrees=agrees, assumes=ON_TEST_IMAGES))
    for row in published["table_1"]:
        nearest = round(row["sensitivity"] * num_malignant) / num_malignant
        agrees = abs(row["sensitivity"] - nearest) <= tolerance
        printed = f"sensitivity at depth {row['depth']}: printed"
        claim = f"{printed}, and the nearest fraction of {num_malignant} images"
        topic, says = "Table I against the test set", row["sensitivity"]
        rows.append(_entry(topic, claim, says, nearest, agrees=agrees, assumes=ON_TEST_IMAGES))
    return rows


def _image_counts(published: dict[str, Any]) -> list[dict[str, Any]]:
    stated, data = published["stated"], published["data"]
    share = published["fractions"]["test"]
    rows = []
    for cohort, images in data.items():
        says, follows = sum(stated[cohort].values()), share * images["num_images"]
        claim = f"test images of {cohort}: stated, and {share:.0%} of its images"
        rows.append(_entry("image counts", claim, says, follows, agrees=says == round(follows)))
    together = data["isic"]["num_images"] + data["ph2"]["num_images"]
    in_abstract = published["abstract"]["num_images"]
    claim = "images of both datasets: in the abstract, and the sum of the datasets"
    rows.append(_entry("image counts", claim, in_abstract, together, agrees=in_abstract == together))
    says, available = stated["ph2"]["num_malignant"], share * published["ph2_num_malignant"]
    claim = f"malignant test images of ph2: stated, and {share:.0%} of the melanomas that PH2 has"
    agrees = says == round(available)
    rows.append(_entry("image counts", claim, says, available, agrees=agrees, assumes=NO_COPIES))
    return rows
