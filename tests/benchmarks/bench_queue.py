"""Whether images that the label queue picks teach a model more than random ones.

    python -m tests.benchmarks.bench_queue

A scripted reader labels real HAM10000 images (`MELANOMA_REAL_DATA`, by default ../shared/data), one a lesion.
The model is a logistic regression on features of EfficientNet-Lite0 with the weights of ImageNet, which has
seen none of these images. Each repetition draws a pool and a test half by lesion, and starts with the same
random labels for all ways. Each round labels `NUM_A_ROUND` more images of the pool:

* random: drawn at random;
* queue: ranked by `monitoring.queue` among the answers of the present model, with its referral band and the
  nearest neighbours among labelled images; without the audit, which is random;
* refer band: only images in the referral band;
* unlike: only images that are unlike the labelled ones.

The threshold reaches a sensitivity of 0.95 on labelled images, out of fold. The referral band is the 30 % of
the pool nearest to it. Repetitions share images, so intervals (Student's t over repetitions) are those of the
random draws, not of new lesions. `--quick` runs on drawn numbers.
"""

import argparse
import sys
from dataclasses import dataclass
from functools import partial
from os import environ
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from melanoma import config, files
from melanoma.data.images import load_square, read_bytes
from melanoma.monitoring import queue
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE, REFER
from tests.benchmarks.contestants import ROOT

RANDOM, QUEUE, BAND, UNLIKE = "random", "queue", "refer band", "unlike"
WAYS = (RANDOM, QUEUE, BAND, UNLIKE)
NUM_FIRST, NUM_A_ROUND = 100, 50
MIN_SENSITIVITY, BAND_FRACTION = 0.95, 0.3
NETWORK, SEED, BATCH_SIZE = "imagenet", 7, 32


@dataclass(frozen=True)
class Images:
    """One image a lesion: features `(n, num_features)`, float32, and targets `(n,)`, 1 = melanoma."""

    features: np.ndarray
    targets: np.ndarray


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="drawn numbers in place of images")
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/queue.json"))
    args = parser.parse_args()
    data = Path(environ.get("MELANOMA_REAL_DATA", ROOT.parent / "shared" / "data")) / "ham10000"
    images = drawn_images(1000) if args.quick else read_images(data)
    curves = measure(images, num_repetitions=args.repetitions, num_rounds=args.rounds)
    table = summarise(curves)
    print(table.to_string(index=False))
    files.write_json({"num_images": len(images.targets), "rows": table.to_dict("records")}, args.out)
    return 0


def drawn_images(num: int) -> Images:
    """Numbers in which a few directions say something of the target."""
    generator = np.random.default_rng(SEED)
    targets = (generator.random(num) < 0.2).astype(int)
    features = generator.normal(size=(num, 16)) + targets[:, None] * (np.arange(16) < 3)
    return Images(features.astype(np.float32), targets)


def read_images(folder: Path) -> Images:
    """Features of one image of each lesion that is there."""
    import keras

    from melanoma.models import head
    from melanoma.models.builders import build_model

    table = files.read_csv(folder / "HAM10000_metadata.csv")
    table["path"] = str(folder / "images") + "/" + table["image_id"] + ".jpg"
    table = table[[Path(path).exists() for path in table["path"]]].sort_values("image_id")
    table = table.drop_duplicates("lesion_id")
    params = config.load(ROOT / "params.yaml")
    keras.utils.set_random_seed(SEED)
    size = params.backbone.image_size
    body = head.cut(build_model(params.backbone, params.model, image_size=size))[0]
    features = []
    for start in tqdm(range(0, len(table), BATCH_SIZE), desc="features", unit="batch", disable=None):
        paths = table["path"].iloc[start : start + BATCH_SIZE]
        squares = np.stack([load_square(read_bytes(Path(path)), size) for path in paths])
        features.append(body.predict_on_batch(squares))
    return Images(np.concatenate(features), (table["dx"] == "mel").astype(int).to_numpy())


def measure(images: Images, *, num_repetitions: int, num_rounds: int) -> pd.DataFrame:
    """The AUC on the test half: columns `way`, `repetition`, `num_labels`, `num_positive` and `auc`."""
    rows = []
    for repetition in tqdm(range(num_repetitions), desc="repetitions", disable=None):
        generator = np.random.default_rng([SEED, repetition])
        pool, test = _halves(images.targets, generator)
        first = _first(images.targets, pool, generator)
        for way in WAYS:
            pick = partial(_pick, way, images, generator=np.random.default_rng([SEED, repetition, 1]))
            labelled = first
            for step in range(num_rounds + 1):
                model = _fit(images, labelled)
                auc = roc_auc_score(images.targets[test], model.predict_proba(images.features[test])[:, 1])
                num_positive = int(images.targets[labelled].sum())
                rows.append((way, repetition, len(labelled), num_positive, auc))
                left = np.setdiff1d(pool, labelled)
                if step < num_rounds:
                    labelled = np.concatenate([labelled, pick(model, labelled, left)])
    return pd.DataFrame(rows, columns=["way", "repetition", "num_labels", "num_positive", "auc"])


def _halves(targets: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pool and test, each with half of the positive and of the negative images."""
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for value in (0, 1):
        rows = generator.permutation(np.flatnonzero(targets == value))
        parts[0].append(rows[: len(rows) // 2])
        parts[1].append(rows[len(rows) // 2 :])
    return np.sort(np.concatenate(parts[0])), np.sort(np.concatenate(parts[1]))


def _first(targets: np.ndarray, pool: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Random images of the pool, drawn again if fewer than five are positive: there are five folds."""
    while True:
        rows = generator.choice(pool, NUM_FIRST, replace=False)
        if targets[rows].sum() >= 5:
            return rows


def _regression():
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=0.001, class_weight="balanced", max_iter=1000)
    )


def _fit(images: Images, rows: np.ndarray):
    return _regression().fit(images.features[rows], images.targets[rows])


def _pick(
    way: str, images: Images, model, labelled: np.ndarray, left: np.ndarray, *, generator: np.random.Generator
) -> np.ndarray:
    """Which images of the pool are labelled next."""
    if way == RANDOM:
        return generator.choice(left, NUM_A_ROUND, replace=False)
    decided = _decide(images, model, labelled, left)
    answers = _records(images, left, decided.assign(decision=NEGATIVE) if way == UNLIKE else decided)
    reference = _records(images, labelled[:0] if way == BAND else labelled)
    no_draws = pd.DataFrame({"prediction_id": [], "probability_drawn": [], "is_drawn": []})
    no_draws = no_draws.astype({"prediction_id": "str", "is_drawn": "bool"})
    ranked = queue.rank(answers, no_draws, size=NUM_A_ROUND, reference=reference)
    return ranked["prediction_id"].astype(int).to_numpy()


def _decide(images: Images, model, labelled: np.ndarray, left: np.ndarray) -> pd.DataFrame:
    """Probability, threshold and decision of each image."""
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    given = images.features[labelled], images.targets[labelled]
    out_of_fold = cross_val_predict(_regression(), *given, cv=folds, method="predict_proba")[:, 1]
    positive = out_of_fold[given[1] == 1]
    threshold = float(np.quantile(positive, 1 - MIN_SENSITIVITY, method="lower"))
    probability = model.predict_proba(images.features[left])[:, 1]
    to_threshold = np.abs(probability - threshold)
    is_in_band = to_threshold <= np.quantile(to_threshold, BAND_FRACTION)
    decision = np.where(is_in_band, REFER, np.where(probability >= threshold, POSITIVE, NEGATIVE))
    return pd.DataFrame({"probability": probability, "threshold": threshold, "decision": decision})


def _records(images: Images, rows: np.ndarray, answers: pd.DataFrame | None = None) -> pd.DataFrame:
    """Records as `monitoring.records` reads them."""
    names = pd.Series(rows.astype(str), dtype="str")
    table = pd.DataFrame({"prediction_id": names, "image_id": names, "image_sha256": names})
    table = table.assign(
        group_key=None,
        reason=None,
        refusal=None,
        model_name=None,
        network_sha256=NETWORK,
        time=pd.Timestamp("2026-01-01", tz="UTC"),
        embedding=[images.features[row].astype("<f2").tobytes() for row in rows],
    )
    return table if answers is None else table.join(answers)


def summarise(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean AUC of each way by number of labels, and its paired difference from random with an interval."""
    auc = curves.pivot_table(index=["num_labels", "repetition"], columns="way", values="auc")
    positive = curves.pivot_table(index="num_labels", columns="way", values="num_positive")
    rows = []
    for num_labels in sorted(curves["num_labels"].unique()):
        of_repetitions = auc.loc[num_labels]
        row = {"num_labels": int(num_labels), RANDOM: of_repetitions[RANDOM].mean()}
        row[f"{RANDOM} positive"] = positive.loc[num_labels, RANDOM]
        for way in WAYS[1:]:
            difference = (of_repetitions[way] - of_repetitions[RANDOM]).to_numpy()
            margin = stats.sem(difference) * stats.t.ppf(0.975, len(difference) - 1)
            row[way] = of_repetitions[way].mean()
            row[f"{way} - {RANDOM}"] = difference.mean()
            row[f"{way} low"], row[f"{way} high"] = difference.mean() - margin, difference.mean() + margin
            row[f"{way} positive"] = positive.loc[num_labels, way]
        rows.append(row)
    return pd.DataFrame(rows).round(4)


if __name__ == "__main__":
    sys.exit(main())
