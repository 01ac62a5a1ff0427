"""What recalibration on few labels of another clinic does for a registered model.

    python -m tests.benchmarks.bench_recalibrate --model models:/melanoma-isic/1 \
        --images ham10000/images --metadata ham10000/HAM10000_metadata.csv

Scores the images of the data set (one column `image_id`, `lesion_id` and `dx`; `mel` is positive) once, and
keeps the scores beside `--out`. Then it draws lesions as labels, again and again, recalibrates the model on
them as `python -m pipelines.recalibrate` does, and measures calibration, sensitivity and specificity on all
other lesions. Quantiles over draws say how the result varies from clinic to clinic; the draws share lesions,
and one model and one data set say nothing about others. Prints Markdown, and writes JSON to `--out`.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from melanoma import config, files, tracking
from melanoma.config import Params
from melanoma.data.images import load_square, read_bytes
from melanoma.evaluation import calibration_measures
from melanoma.markdown import markdown
from melanoma.monitoring import recalibration
from melanoma.monitoring.recalibration import Decided, Labelled
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.serving.network import Network
from melanoma.serving.settings import Settings
from tests.benchmarks.contestants import ROOT

NUM_LABELS, SEED, BATCH_SIZE = (100, 200, 400), 17, 32
NUM_BOOTSTRAP_DRAWS = 500  # of each interval that decides whether a recalibration helps
MEASURES = ("intercept", "slope", "sensitivity", "specificity")
TITLES = ("labelled lesions", "on the other lesions", "draws", *MEASURES)


@dataclass(frozen=True)
class Model:
    """A network with its number of views, and the operating point at which it is served."""

    network: Network
    sha256: str
    point: OperatingPoint


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="models:/<name>/<version>, with whole images")
    parser.add_argument("--images", type=Path, required=True, help="folder of <image_id>.jpg")
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks/recalibrate.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = open_model(args.model, Path(folder))
        cache = args.out.with_name(f"scores-{model.sha256[:12]}.csv")
        if not cache.exists():
            files.write_csv(score(model.network, args.metadata, args.images), cache)
    table = files.read_csv(cache)
    target, scores = table["target"].to_numpy(), table["score"].to_numpy()
    labelled = Labelled(target, scores, table["lesion_id"].to_numpy(str))
    found = measure(labelled, model.point, config.load(ROOT / "params.yaml"), args.repetitions)
    before = evaluate(labelled, model.point)
    rows = [row for num in NUM_LABELS for row in describe(found[found["num_labels"] == num])]
    about = (
        f"{labelled.num_groups()} lesions, {labelled.num_groups(1)} positive; {args.repetitions} draws each. "
        f"The version itself on all lesions: {before}"
    )
    print(about, markdown(pd.DataFrame(rows, columns=TITLES)), sep="\n\n")
    files.write_json({"about": about, "before": before, "draws": found.to_dict("records")}, args.out)
    return 0


def open_model(uri: str, folder: Path) -> Model:
    """Download a registered model."""
    artifacts = tracking.download(uri, folder) / "artifacts"
    settings = Settings.read(artifacts / "settings.json")
    if settings.crop is not None:
        raise SystemExit(f"{uri} crops its images; give a model of whole images")
    network = Network(artifacts / "model.onnx", num_views=settings.num_views)
    return Model(network, settings.network_sha256, settings.operating_point)


def score(network: Network, metadata: Path, folder: Path) -> pd.DataFrame:
    """Scores before calibration of the images that are there: `image_id`, `lesion_id`, `target`, `score`."""
    table = files.read_csv(metadata)
    table["path"] = str(folder) + "/" + table["image_id"] + ".jpg"
    table = table[[Path(path).exists() for path in table["path"]]].sort_values("image_id")
    scores = []
    for start in tqdm(range(0, len(table), BATCH_SIZE), desc="score", unit="batch", disable=None):
        paths = table["path"].iloc[start : start + BATCH_SIZE]
        squares = [load_square(read_bytes(Path(path)), network.image_size) for path in paths]
        scores.append(network.score(np.stack(squares)))
    table = table.assign(target=(table["dx"] == "mel").astype(int), score=np.concatenate(scores))
    return table[["image_id", "lesion_id", "target", "score"]]


def measure(labelled: Labelled, own: OperatingPoint, params: Params, num_repetitions: int) -> pd.DataFrame:
    """One row a draw: `num_labels`, `is_enough`, `helps`, and `before_` and `after_` each of `MEASURES`.

    The measures after are nan if the draw has one class only.
    """
    settings = params.recalibrate.model_copy(update={"num_bootstrap_draws": NUM_BOOTSTRAP_DRAWS})
    params = params.model_copy(update={"recalibrate": settings})
    lesions, rows = np.unique(labelled.group_ids), []
    for num_labels in NUM_LABELS:
        for repetition in tqdm(range(num_repetitions), desc=f"{num_labels} labels", disable=None):
            generator = np.random.default_rng([SEED, num_labels, repetition])
            is_drawn = np.isin(labelled.group_ids, generator.choice(lesions, num_labels, replace=False))
            drawn, others = labelled.at(is_drawn), labelled.at(~is_drawn)
            row: dict[str, float] = {
                "num_labels": num_labels,
                "is_enough": not recalibration.missing(drawn, settings),
            }
            row["helps"] = row["is_enough"] and _helps(drawn, own, params)
            row |= {f"before_{name}": value for name, value in evaluate(others, own).items()}
            if len(set(drawn.target)) == 2:
                point = recalibration.fit(drawn, own, params.evaluate)
                row |= {f"after_{name}": value for name, value in evaluate(others, point).items()}
            rows.append(row)
    return pd.DataFrame(rows)


def _helps(drawn: Labelled, own: OperatingPoint, params: Params) -> bool:
    """Whether the command would register the version, but for its gates."""
    method = params.evaluate.calibration
    return not recalibration.recalibrate(drawn, own, params.recalibrate, params.evaluate).why_not(method)


def evaluate(labelled: Labelled, point: OperatingPoint) -> dict[str, float]:
    """`MEASURES` of an operating point on these images."""
    decided = Decided.by(point, labelled.score)
    found = calibration_measures.measure(labelled.target, decided.probability, labelled.group_ids)
    is_called, is_positive = decided.probability >= decided.threshold, labelled.target == 1
    return {
        "intercept": float(found["calibration_intercept"]["value"]),
        "slope": float(found["calibration_slope"]["value"]),
        "sensitivity": float(is_called[is_positive].mean()),
        "specificity": float((~is_called[~is_positive]).mean()),
    }


def describe(draws: pd.DataFrame) -> list[tuple[str, ...]]:
    """Rows of the table for one number of labels: median, and quantiles 2.5 and 97.5 %, over draws."""
    num_labels, num = str(draws["num_labels"].iloc[0]), len(draws)
    parts = (
        ("before", draws, "before"),
        ("after", draws.dropna(subset=["after_slope"]), "after"),
        ("after, if enough are positive", draws[draws["is_enough"]], "after"),
        ("after, if it is also shown to help", draws[draws["helps"]], "after"),
    )
    return [
        (num_labels, words, f"{len(rows)} of {num}", *(_spread(rows[f"{when}_{name}"]) for name in MEASURES))
        for words, rows, when in parts
    ]


def _spread(values: pd.Series) -> str:
    if values.empty:
        return "-"
    low, middle, high = np.quantile(values, [0.025, 0.5, 0.975])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
