"""Whether the sides of a split hold the same kind of images, as standardised differences.

A standardised difference is the mean on one side minus the mean on the other two, in standard deviations of
all images (Austin, Statistics in Medicine 28, 2009). Unlike a p value it does not grow with the number of
images. Values up to 0.1 are usually called negligible; small sides differ by more by chance.
"""

from typing import Any

import numpy as np
import pandas as pd

from melanoma.schema import FEMALE, POSITIVE, SPLITS

RECORDED = ("diagnosis", "source_collection", "sex", "age_years")  # columns of records that are compared
NEGLIGIBLE = 0.1
MAX_VALUES = 10  # diagnoses and sources; rarer ones are not compared
NOT_RECORDED = "not recorded"
CONSTANT = "the same in all images"
ONE_SIDED = "recorded in one part only"


def measure(rows: pd.DataFrame, records: pd.DataFrame) -> dict[str, Any]:
    """Compare the sides of a split.

    Args:
        rows: Columns `schema.SPLIT_COLUMNS`, without withheld images.
        records: Columns `image_id` and `RECORDED` of at least these images; what is missing in all images has
            a reason instead of differences.

    Returns:
        `limit`, which a standardised difference of the smallest side exceeds by chance in 5 % of splits by
        group (at least `NEGLIGIBLE`), and `measures`: for each `measure` its mean over `all` images and on
        each of `sides` with the `difference`; where this is nan, `undefined` has the reason.
    """
    known = rows.merge(records[["image_id", *RECORDED]], on="image_id", how="left", validate="one_to_one")
    measures = [_compare(name, values, known["split"]) for name, values in _characteristics(known).items()]
    return {"limit": _limit(rows), "measures": measures}


def _characteristics(images: pd.DataFrame) -> dict[str, pd.Series]:
    """Values by image (missing where unknown): 0 or 1 for a kind of image, or the age."""
    of_several = images["group_id"].duplicated(keep=False)
    sources = images["source_collection"].astype("string").fillna(images["dataset"].astype("string"))
    return {
        "in a group of several images": of_several.astype("Float64"),
        "positive": (images["target"] == POSITIVE).astype("Float64"),
        **_kinds("diagnosis", images["diagnosis"].astype("string")),
        **_kinds("source", sources),
        "female": (images["sex"].astype("string") == FEMALE).astype("Float64"),
        "age (years)": images["age_years"].astype("Float64"),
    }


def _kinds(title: str, words: pd.Series) -> dict[str, pd.Series]:
    """One indicator for each of the most frequent words; of two words only the first: both say the same."""
    counts = words.value_counts()
    names = sorted(counts.index[:MAX_VALUES], key=lambda name: (-counts[name], name))
    if len(names) < 2:
        return {title: words.notna().astype("Float64").mask(words.isna())}
    return {
        f"{title}: {name}": (words == name).astype("Float64")
        for name in (names[:1] if len(names) == 2 else names)
    }


def _compare(name: str, values: pd.Series, split: pd.Series) -> dict[str, Any]:
    numbers = values.to_numpy("float64", na_value=np.nan)
    sides = {side: _side(numbers, (split == side).to_numpy(bool)) for side in SPLITS}
    found: dict[str, Any] = {"measure": name, "all": _mean(numbers), "sides": sides}
    if any(np.isnan(side["difference"]) for side in sides.values()):
        found["undefined"] = _reason(numbers)
    return found


def _side(numbers: np.ndarray, is_here: np.ndarray) -> dict[str, float]:
    here, elsewhere = _mean(numbers[is_here]), _mean(numbers[~is_here])
    known = numbers[~np.isnan(numbers)]
    deviation = known.std() if len(known) else 0.0
    difference = (here - elsewhere) / deviation if deviation > 0 else float("nan")
    return {"mean": here, "difference": float(difference)}


def _mean(numbers: np.ndarray) -> float:
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if len(known) else float("nan")


def _reason(numbers: np.ndarray) -> str:
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return NOT_RECORDED
    return CONSTANT if known.min() == known.max() else ONE_SIDED


def _limit(rows: pd.DataFrame) -> float:
    """1.96 standard errors of the standardised difference of the side with the fewest groups."""
    groups = rows.groupby("split")["group_id"].nunique()
    smallest = min(int(groups.get(side, 0)) for side in SPLITS)
    others = int(groups.sum()) - smallest
    if not smallest or not others:
        return float("nan")
    return max(NEGLIGIBLE, float(1.96 * np.sqrt(1 / smallest + 1 / others)))


def widest(found: dict[str, Any]) -> pd.Series:
    """The largest absolute difference of any side by measure, without those that are undefined."""
    largest = {
        entry["measure"]: max(abs(side["difference"]) for side in entry["sides"].values())
        for entry in found["measures"]
        if "undefined" not in entry
    }
    return pd.Series(largest, dtype=float)


def in_words(found: dict[str, Any]) -> str:
    """How many measures differ between the sides by more than chance, with the widest one."""
    sizes = widest(found)
    if sizes.empty or not np.isfinite(found["limit"]):
        return "balance of the sides not measured"
    wide = sizes[sizes > found["limit"]]
    return (
        f"{len(wide)} of {len(sizes)} characteristics differ between the sides by more than "
        f"{found['limit']:.2f} standard deviations (largest: {sizes.idxmax()}, {sizes.max():.2f})"
    )


def table(found: dict[str, Any]) -> pd.DataFrame:
    """For readers: the mean of each measure, and on each side the mean with the standardised difference."""
    return pd.DataFrame(
        [
            {
                "characteristic": entry["measure"],
                "all": _number(entry["all"]),
                **{side: _cell(entry, side) for side in SPLITS},
            }
            for entry in found["measures"]
        ]
    )


def _cell(entry: dict[str, Any], side: str) -> str:
    mean, difference = entry["sides"][side]["mean"], entry["sides"][side]["difference"]
    if difference is None or np.isnan(difference):
        return f"{_number(mean)} ({entry['undefined']})"
    return f"{_number(mean)} ({difference:+.2f})"


def _number(value: float | None) -> str:
    return "undefined" if value is None or np.isnan(value) else f"{value:.3g}"
