"""Whether the sides of a split hold the same kind of images, over many data sets.

The sizes of groups follow HAM10000 (7,470 lesions, 10,015 images). Diagnosis, source and sex of a lesion
depend on its number of images, so that a split which is biased by size is biased by them too.
"""

import numpy as np
import pandas as pd

from melanoma.config.data import AssignRule
from melanoma.data.groups import balance, splits
from melanoma.schema import SPLITS, TEST
from tests.simulations.rows import Row

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}
NUM_GROUPS = 700
SIZES = {
    0: [0.76, 0.18, 0.04, 0.01, 0.007, 0.003],
    1: [0.55, 0.35, 0.07, 0.02, 0.006, 0.004],
}  # 1 to 6 images
SHARE = "images in groups of several, training / validation / test"
SEVERAL = "in a group of several images"
COMPARED = {
    "group size": SEVERAL,
    "diagnosis (nevus)": "diagnosis: nevus",
    "source": "source: Vienna",
    "sex": "female",
}
MAX_DATA_SETS = 200
TRUTH = f"{NUM_GROUPS} groups of 1 to 6 images as in HAM10000"


def draw(rng: np.random.Generator) -> pd.DataFrame:
    """Images of `NUM_GROUPS` lesions: columns of records, and `group_id`."""
    target = (rng.random(NUM_GROUPS) < 0.2).astype(int)
    sizes = [rng.choice(6, NUM_GROUPS, p=SIZES[kind]) + 1 for kind in (0, 1)]
    size = np.where(target == 1, sizes[1], sizes[0])
    benign = np.where(rng.random(NUM_GROUPS) < 0.9 - 0.15 * (size > 1), "nevus", "keratosis")
    groups = pd.DataFrame(
        {
            "group_id": [f"g{number:04}" for number in range(NUM_GROUPS)],
            "dataset": "a",
            "target": target,
            "diagnosis": np.where(target == 1, "melanoma", benign),
            "source_collection": np.where(
                rng.random(NUM_GROUPS) < 0.7 - 0.3 * (size > 1), "Vienna", "Queensland"
            ),
            "sex": np.where(rng.random(NUM_GROUPS) < 0.55 - 0.15 * (size > 1), "female", "male"),
            "age_years": rng.normal(52, 17, NUM_GROUPS).round(),
        }
    )
    images = groups.loc[groups.index.repeat(size)].reset_index(drop=True)
    return images.assign(image_id=[f"i{number:05}" for number in range(len(images))])


def _measure(images: pd.DataFrame, seed: int, rule: AssignRule) -> dict[str, list[float]]:
    """Fraction of images in groups of several by side, and standardised differences of the test set."""
    given = images[["image_id", "dataset", "group_id", "target"]].assign(is_accepted=True, split=None)
    assigned = splits.assign_splits(given, splits.Plan(seed, FRACTIONS, rule))
    found = {entry["measure"]: entry["sides"] for entry in balance.measure(assigned, images)["measures"]}
    return {
        SHARE: [found[SEVERAL][side]["mean"] for side in SPLITS],
        **{name: [found[measure][TEST]["difference"]] for name, measure in COMPARED.items()},
    }


def simulate(num: int, seed: int) -> list[Row]:
    """Split `num` data sets, at most `MAX_DATA_SETS`, by both rules: means over the data sets."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[dict[str, list[float]]]] = {rule: [] for rule in splits.RULES}
    for number in range(min(num, MAX_DATA_SETS)):
        images = draw(rng)
        for rule in splits.RULES:
            found[rule].append(_measure(images, number, rule))

    def mean(rule: str, name: str) -> str:
        values = np.mean([measured[name] for measured in found[rule]], axis=0)
        return " / ".join(f"{value:.3f}" for value in values)

    return [
        Row(f"Splits: {name}", TRUTH, nominal, mean(splits.ABSOLUTE, key), mean(splits.RELATIVE, key))
        for key, name, nominal in (
            (SHARE, SHARE, "equal"),
            *((key, f"mean standardised difference of the test set, {key}", "0") for key in COMPARED),
        )
    ]
