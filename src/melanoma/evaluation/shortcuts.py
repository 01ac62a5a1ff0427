"""How well the label can be told without looking at the lesion: from where, when and how a picture was made.

What tells it here can be learnt by a network instead of the disease, and will not hold in another
clinic. Each set of facts is judged by gradient-boosted trees, cross-validated by group, so that no
copy or second view of an image is known to the trees that judge it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from melanoma.evaluation import bootstrap, metrics

CATEGORIES = ("source_collection", "sex", "anatom_site", "format", "mode")
MAX_CATEGORIES = 200  # the trees take at most 255; rarer ones count as missing
BATCH_CELLS = 20_000_000  # draws times images at once: 160 MB
CHANCE = 0.5
LEARNT_INSTEAD = "a network may learn it instead of the lesion"


@dataclass(frozen=True)
class FactSet:
    """Facts that are judged together.

    Attributes:
        name: For people.
        columns: Of records and facts.
        meaning: What follows when they tell the label.
    """

    name: str
    columns: tuple[str, ...]
    meaning: str = LEARNT_INSTEAD


FILE_FACTS = (
    "format",
    "mode",
    "bit_depth",
    "exif_orientation",
    "num_bytes",
    "width",
    "height",
    "sharpness",
    "brightness",
    "contrast",
    "saturation",
    "clipped_fraction",
    "dark_border_fraction",
    "hair_fraction",
    "ink_fraction",
)
FACT_SETS = (
    FactSet("the source collection", ("source_collection",)),
    FactSet("the file size in bytes", ("num_bytes",)),
    FactSet("width and height", ("width", "height")),
    FactSet("dark border, hair and ink", ("dark_border_fraction", "hair_fraction", "ink_fraction")),
    FactSet(
        "age, sex and site",
        ("age_years", "sex", "anatom_site"),
        "a model must do better than this to be worth a picture",
    ),
    FactSet(
        "all facts of the file and its quality",
        FILE_FACTS,
        "brightness and colour are in part the lesion's own, the rest a network may learn instead of it",
    ),
)


@dataclass(frozen=True)
class Shortcut:
    """How well one set of facts tells malignant from benign.

    Attributes:
        facts: What was judged.
        columns: Those of its columns that have more than one value.
        auc_roc: Out of fold; nan where it is not defined.
        low: Of the 95 % interval from draws of groups.
        high: Likewise.
        problem: Why it is not defined.
    """

    facts: FactSet
    columns: tuple[str, ...] = ()
    auc_roc: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    problem: str | None = None

    def in_words(self) -> str:
        """One sentence for a reader who knows no statistics."""
        name = self.facts.name
        if self.problem is not None:
            return f"From {name} alone: not defined, {self.problem}."
        auc = f"AUC {self.auc_roc:.2f} ({self.low:.2f} to {self.high:.2f})"
        if self.low > CHANCE:
            return f"From {name} alone, malignant is told from benign with {auc}: {self.facts.meaning}."
        if self.high < CHANCE:
            return f"From {name} alone, malignant is told worse than by chance, {auc}: it misleads."
        return (
            f"From {name} alone, malignant is not told from benign, {auc}: the interval holds chance, 0.50."
        )


def headline(found: list[Shortcut]) -> str:
    """One line: what tells the label best without the lesion."""
    defined = [shortcut for shortcut in found if shortcut.problem is None]
    if not defined:
        return "shortcuts are not defined"
    return max(defined, key=lambda shortcut: shortcut.low).in_words()


def find_shortcuts(
    images: pd.DataFrame, *, seed: int, num_folds: int, num_bootstrap_draws: int
) -> list[Shortcut]:
    """Judge each of `FACT_SETS`.

    Args:
        images: One row an image: `target`, `group_id` and the columns of the sets; absent ones count
            as all missing. Rows without a target are left out.
        seed: Of folds, trees and draws.
        num_folds: Of the cross-validation by group.
        num_bootstrap_draws: Draws of groups for the intervals.
    """
    labelled = images[images["target"].notna()]
    problem = _problem_of_labels(labelled, num_folds)
    if problem is not None:
        return [Shortcut(facts, problem=problem) for facts in FACT_SETS]
    target = labelled["target"].to_numpy(dtype=np.int64)
    group_ids = labelled["group_id"].to_numpy(dtype=str)
    found = []
    for facts in FACT_SETS:
        features = _features(labelled, facts.columns)
        if features.empty:
            found.append(Shortcut(facts, problem="because all images have the same value or none"))
            continue
        score = out_of_fold_ranks(features, target, group_ids, num_folds=num_folds, seed=seed)
        low, high = _interval(target, score, group_ids, num_draws=num_bootstrap_draws, seed=seed)
        value = _auc(target, score, np.ones((1, len(target))))[0]
        found.append(Shortcut(facts, tuple(features.columns), float(value), low, high))
    return found


def _problem_of_labels(images: pd.DataFrame, num_folds: int) -> str | None:
    num_groups = images.groupby("target")["group_id"].nunique()
    if len(num_groups) < 2:
        return "because the images are not of two classes"
    if num_groups.min() < num_folds:
        return f"because one class has {num_groups.min()} groups and {num_folds} are needed"
    return None


def _features(images: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Columns with more than one value (missing is one): numbers as float, words as categories."""
    features: dict[str, object] = {}
    for column in columns:
        if column not in images or images[column].nunique(dropna=False) < 2:
            continue
        if column in CATEGORIES:
            common = images[column].value_counts().index[:MAX_CATEGORIES]
            kept = images[column].where(images[column].isin(common))
            features[column] = pd.Categorical(kept, categories=sorted(common))
        else:
            features[column] = images[column].to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.DataFrame(features)


def out_of_fold_ranks(
    features: pd.DataFrame, target: np.ndarray, group_ids: np.ndarray, *, num_folds: int, seed: int
) -> np.ndarray:
    """How malignant each image looks to trees that have seen no image of its group.

    Scores are ranked within their fold: trees of different folds differ in their mean by chance, and
    pooled as they are, facts that tell nothing would come out worse than chance.

    Args:
        features: Shape `(num_samples, num_columns)`; numbers or categories, missing allowed.
        target: Shape `(num_samples,)`, 0 or 1.
        group_ids: Shape `(num_samples,)`.
        num_folds: Each class needs at least as many groups.
        seed: Of folds and trees.

    Returns:
        Shape `(num_samples,)`, in (0, 1]; ties share the mean of their ranks.
    """
    ranks = np.full(len(target), np.nan)
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    for known, unknown in folds.split(features, target, group_ids):
        trees = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)
        # On so little data threads wait more than they work; beside other processes, seconds become a minute.
        with threadpool_limits(1):
            trees.fit(features.iloc[known], target[known])
            score = trees.predict_proba(features.iloc[unknown])[:, 1]
        ranks[unknown] = rankdata(score) / len(unknown)
    return ranks


def _interval(
    target: np.ndarray, score: np.ndarray, group_ids: np.ndarray, *, num_draws: int, seed: int
) -> tuple[float, float]:
    draws = [
        _auc(target, score, bootstrap.draw_weights(group_ids, num_draws=num, seed=batch_seed))
        for num, batch_seed in _batches(num_draws, len(target), seed)
    ]
    return bootstrap.interval(np.concatenate(draws))


def _batches(num_draws: int, num_images: int, seed: int) -> Iterator[tuple[int, int]]:
    """How many draws to make at once, each batch with a seed of its own: memory stays bounded."""
    size = max(1, min(num_draws, BATCH_CELLS // num_images))
    starts = range(0, num_draws, size)
    seeds = np.random.SeedSequence(seed).generate_state(len(starts))
    return ((min(size, num_draws - start), int(own)) for start, own in zip(starts, seeds, strict=True))


def _auc(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return metrics.compute_metrics(target, score, threshold=CHANCE, weights=weights)["auc_roc"]
