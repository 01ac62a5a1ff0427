"""Shortcuts: how well the label can be predicted from the origin of an image, without looking at the lesion.

A network can learn such facts instead of the disease, and they will not hold in another clinic. Each set of
facts is evaluated with gradient-boosted trees, cross-validated over groups, so that no copy or second view of
an image is in the training folds.
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
MAX_CATEGORIES = 200  # the trees accept at most 255; rarer ones count as missing
BATCH_CELLS = 20_000_000  # draws times images at once: 160 MB
CHANCE = 0.5
LEARNT_INSTEAD = "a network may learn this instead of the lesion"


@dataclass(frozen=True)
class FactSet:
    """Facts that are evaluated together.

    Attributes:
        name: Name in reports.
        columns: Columns of records and facts.
        meaning: Consequence if they predict the label.
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
        "a model that uses images should be better than this",
    ),
    FactSet(
        "all properties of the file and its quality",
        FILE_FACTS,
        "brightness and colour partly belong to the lesion; the rest may be learned instead of it",
    ),
)


@dataclass(frozen=True)
class Shortcut:
    """How well one set of facts predicts the label.

    Attributes:
        facts: The set of facts.
        columns: Its columns that have more than one value.
        auc_roc: Out-of-fold AUC; nan if undefined.
        low: Lower end of the 95 % interval over groups.
        high: Upper end of that interval.
        problem: Why the AUC is undefined; None otherwise.
    """

    facts: FactSet
    columns: tuple[str, ...] = ()
    auc_roc: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    problem: str | None = None

    def in_words(self) -> str:
        """The result in one sentence without statistical terms."""
        name = self.facts.name
        if self.problem is not None:
            return f"From {name} alone: undefined, {self.problem}."
        auc = f"AUC {self.auc_roc:.2f} ({self.low:.2f} to {self.high:.2f})"
        if self.low > CHANCE:
            return f"From {name} alone, the label is predicted with {auc}: {self.facts.meaning}."
        if self.high < CHANCE:
            return f"From {name} alone, the label is predicted worse than by chance, {auc}."
        return f"From {name} alone, the label is not predicted better than by chance, {auc}."


def summary_line(found: list[Shortcut]) -> str:
    """The set of facts that predicts the label best, in one line."""
    defined = [shortcut for shortcut in found if shortcut.problem is None]
    if not defined:
        return "no set of facts has a defined AUC"
    return max(defined, key=lambda shortcut: shortcut.low).in_words()


def find_shortcuts(
    images: pd.DataFrame, *, seed: int, num_folds: int, num_bootstrap_draws: int
) -> list[Shortcut]:
    """Evaluate each of `FACT_SETS`.

    Args:
        images: One row per image: `target`, `group_id` and the columns of the sets; absent columns count as
            missing values. Rows without a target are ignored.
        seed: Seed of folds, trees and draws.
        num_folds: Number of folds of the cross-validation over groups.
        num_bootstrap_draws: Number of draws of the intervals.
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
        return f"because one class has {num_groups.min()} groups, and {num_folds} are required"
    return None


def _features(images: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Columns with more than one value (missing counts as one): numbers as float, texts as categories."""
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
    """Rank of each image by trees that were fitted without its group.

    Scores are ranked within their fold: the mean of trees differs between folds by chance, so pooled raw
    scores of uninformative facts would be worse than chance.

    Args:
        features: Shape `(num_samples, num_columns)`; numbers or categories, missing allowed.
        target: Shape `(num_samples,)`, 0 or 1.
        group_ids: Shape `(num_samples,)`.
        num_folds: Number of folds; each class needs at least as many groups.
        seed: Seed of folds and trees.

    Returns:
        Shape `(num_samples,)`, in (0, 1]; ties share the mean of their ranks.
    """
    ranks = np.full(len(target), np.nan)
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    for known, unknown in folds.split(features, target, group_ids):
        trees = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)
        # With so little data, threads mostly wait: beside other processes, seconds become a minute.
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
    """Sizes and seeds of batches of draws; they bound the memory."""
    size = max(1, min(num_draws, BATCH_CELLS // num_images))
    starts = range(0, num_draws, size)
    seeds = np.random.SeedSequence(seed).generate_state(len(starts))
    return ((min(size, num_draws - start), int(own)) for start, own in zip(starts, seeds, strict=True))


def _auc(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return metrics.compute_metrics(target, score, threshold=CHANCE, weights=weights)["auc_roc"]
