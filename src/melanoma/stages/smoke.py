"""Command `smoke`: compare a server's answers with the predictions of the last evaluation."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from melanoma import files
from melanoma.config import Params
from melanoma.data import tables
from melanoma.data.images import read_bytes
from melanoma.errors import DataError, TrackingError, first_offenders
from melanoma.schema import align
from melanoma.scoring.operating_point import current_word
from melanoma.serving import client

TOLERANCE = 1e-5  # largest difference of two equal probabilities
COLUMNS = ("image_id", "model", "probability", "decision")  # of predictions.csv
BATCH_SIZE = 16  # images per request


def run(
    url: str, params: Params, *, cohort: str | None, num_images: int | None, accepted: Path, reports: Path
) -> str:
    """Post images of a cohort and compare the answers; return a report.

    Args:
        url: Address of the server, for instance http://127.0.0.1:5001.
        params: Content of params.yaml.
        cohort: Name of the cohort; None takes the first active one.
        num_images: Number of images, spread over the cohort; None posts all.
        accepted: Folder of accepted records.
        reports: Folder of reports.

    Raises:
        DataError: An answer differs from the evaluation.
        TrackingError: The server does not answer, or accepts a bad request.
    """
    cohort = cohort or params.run.cohorts[0]
    records = tables.read_tables(accepted, params.members(cohort), tables.ACCEPTED_COLUMNS)
    expected = _expected(reports / cohort, records, num_images)
    _require_refusal(url)
    answers = [answer for batch in _post(url, expected) for answer in batch]
    found = _differences(expected, answers)
    versions = ", ".join(sorted({answer["model_version"] for answer in answers}))
    asked = f"{len(answers)} images of {cohort}, model version {versions}"
    if found:
        raise DataError(
            f"{len(found)} of {asked}, got answers that differ from reports/{cohort}/predictions.csv: "
            f"{first_offenders(found)}. Check in reports/{cohort}/promotion.json that version {versions} "
            "was evaluated last: a refused challenger is evaluated, but not served."
        )
    return f"{asked}: all answers equal the offline predictions; a bad request is refused"


def _expected(report: Path, accepted: pd.DataFrame, num_images: int | None) -> pd.DataFrame:
    """Predictions of the selected model: `image_id`, `path`, `probability`, `decision`, `is_at_bound`.

    At a bound between two decisions, rounding on another machine may change the decision.
    """
    models = files.read_json(report / "models.json")
    selected = models["selected"]
    point = models[selected]["operating_point"]
    predictions = tables.read_scores(report / "predictions.csv", COLUMNS)
    predictions = predictions[predictions["model"] == selected]
    paths = accepted.loc[accepted["image_id"].isin(predictions["image_id"])].set_index("image_id")["path"]
    paths = align(paths, predictions["image_id"], what="The accepted images")
    predictions = predictions.assign(path=paths.to_numpy())
    if not len(predictions) or (num_images is not None and num_images < 1):
        raise DataError(
            f"There is no image to post: {report} has predictions of {len(predictions)} accepted images."
        )
    distances = [(predictions["probability"] - point[end]).abs() for end in ("refer_from", "refer_to")]
    predictions["is_at_bound"] = np.minimum(*distances) <= TOLERANCE
    step = max(1, len(predictions) // (num_images or len(predictions)))
    return predictions.iloc[::step].head(num_images or len(predictions))


def _post(url: str, expected: pd.DataFrame) -> Iterator[Sequence[Mapping[str, Any]]]:
    with tqdm(total=len(expected), desc="smoke", unit="image", disable=None) as bar:
        for start in range(0, len(expected), BATCH_SIZE):
            batch = expected.iloc[start : start + BATCH_SIZE]
            pairs = zip(batch["image_id"], batch["path"], strict=True)
            yield client.score_images(url, {image_id: read_bytes(Path(path)) for image_id, path in pairs})
            bar.update(len(batch))


def _differences(expected: pd.DataFrame, answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """A phrase for each image whose answer differs."""
    answered = pd.Series(list(answers), index=[answer["image_id"] for answer in answers], dtype=object)
    answered = align(answered, expected["image_id"], what="The answers of the server")
    columns = (expected["probability"], expected["decision"], expected["is_at_bound"], answered)
    found = []
    for probability, decision, is_at_bound, answer in zip(*columns, strict=True):
        is_near = math.isclose(probability, answer["probability"], rel_tol=0, abs_tol=TOLERANCE)
        if not is_near or (current_word(decision) != current_word(answer["decision"]) and not is_at_bound):
            got = f"{answer['probability']:.6f} {answer['decision']}"
            found.append(f"{answer['image_id']}: expected {probability:.6f} {decision}, got {got}")
    return found


def _require_refusal(url: str) -> None:
    """Post bytes that are no image; they must be refused with row and reason."""
    response = client.post_images(url, {"no image": b"no image"})
    if response.status_code != 400 or "row 0" not in response.text:
        raise TrackingError(
            f"{url} must answer 400 and name the row if the bytes are not an image; it answered "
            f"{response.status_code}: {response.text[:200]}"
        )
