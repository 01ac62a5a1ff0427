"""Post accepted images to a served model and compare with the predictions of the last evaluation.

Not a stage: what one runs after a deploy. Ends with exit code 1 on any difference.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from melanoma import config, files
from melanoma.data import tables
from melanoma.data.images import read_bytes
from melanoma.errors import DataError, TrackingError, first_offenders
from melanoma.schema import align
from melanoma.serving import client
from pipelines import _cli

TOLERANCE = 1e-5  # of a probability
BATCH_SIZE = 16  # images a request


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line; 1 when an answer differs or a bad request is not refused."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--url", required=True, help="of the server, for instance http://127.0.0.1:5001")
    parser.add_argument("--cohort", help="default: the first active one")
    parser.add_argument("--num-images", type=int, help="spread over the cohort; default: all")
    parser.add_argument("--accepted", type=Path, default=Path("data/accepted"))
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    args = parser.parse_args(argv)

    params = config.load(args.params)
    cohort = args.cohort or params.run.cohorts[0]
    accepted = tables.read_tables(args.accepted, params.members(cohort), tables.ACCEPTED_COLUMNS)
    expected = _expected(args.reports / cohort, accepted, args.num_images)
    _require_refusal(args.url)
    answers = [answer for batch in _post(args.url, expected) for answer in batch]
    found = _differences(expected, answers)
    versions = ", ".join(sorted({answer["model_version"] for answer in answers}))
    told = f"{len(answers)} images of {cohort}, model version {versions}"
    if found:
        raise DataError(
            f"{len(found)} of {told}, are answered otherwise than reports/{cohort}/predictions.csv says: "
            f"{first_offenders(found)}. Was version {versions} evaluated last? See reports/{cohort}/"
            "promotion.json: a refused challenger is evaluated, but not served."
        )
    _cli.say("smoke", f"{told}: all equal to the offline predictions; a bad request is refused")
    return 0


def _expected(report: Path, accepted: pd.DataFrame, num_images: int | None) -> pd.DataFrame:
    """Columns `image_id`, `path`, `probability`, `decision` and `is_at_bound`, of the selected model.

    What lies on a bound between two decisions may be turned by the last digit of another machine.
    """
    models = files.read_json(report / "models.json")
    selected = models["selected"]
    point = models[selected]["operating_point"]
    names = {"image_id": "string", "model": "string", "decision": "string"}
    predictions = files.read_csv(
        report / "predictions.csv", dtype=names, keep_default_na=False, na_values={"probability": [""]}
    )
    predictions = predictions[predictions["model"] == selected]
    paths = accepted.loc[accepted["image_id"].isin(predictions["image_id"])].set_index("image_id")["path"]
    paths = align(paths, predictions["image_id"], what="The accepted images")
    predictions = predictions.assign(path=paths.to_numpy())
    if not len(predictions) or (num_images is not None and num_images < 1):
        raise DataError(f"No image to post: {report} predicts {len(predictions)} accepted ones.")
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
    """What differs, a phrase an image."""
    answered = pd.Series(list(answers), index=[answer["image_id"] for answer in answers], dtype=object)
    answered = align(answered, expected["image_id"], what="The answers of the server")
    columns = (expected["probability"], expected["decision"], expected["is_at_bound"], answered)
    found = []
    for probability, decision, is_at_bound, answer in zip(*columns, strict=True):
        is_near = math.isclose(probability, answer["probability"], rel_tol=0, abs_tol=TOLERANCE)
        if not is_near or (decision != answer["decision"] and not is_at_bound):
            got = f"{answer['probability']:.6f} {answer['decision']}"
            found.append(f"{answer['image_id']}: expected {probability:.6f} {decision}, got {got}")
    return found


def _require_refusal(url: str) -> None:
    """A request that holds no image must be refused with its row and reason."""
    response = client.post_images(url, {"no image": b"no image"})
    if response.status_code != 400 or "row 0" not in response.text:
        raise TrackingError(
            f"{url} must answer 400 to bytes that are no image, and name the row; it answered "
            f"{response.status_code}: {response.text[:200]}"
        )


if __name__ == "__main__":
    sys.exit(_cli.run(main))
