"""Body of the command `replay`: post a dataset to a server as a stream, with labels that come late.

It shows and tests what happens after serving on images whose diagnoses are known. The labels are as biased
as those of a clinic: what the model calls positive is verified nearly always, what it calls negative hardly
ever. The audit of the label queue needs other labels; `read_queue` gives them.
"""

import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from melanoma import files
from melanoma.config import Params
from melanoma.config.monitoring import Replay
from melanoma.data import images
from melanoma.data.artefacts import generator_of
from melanoma.data.sources import readers
from melanoma.data.sources.source_tables import read_table
from melanoma.errors import DataError, ImageError, TrackingError
from melanoma.monitoring.labels import LABEL
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE
from melanoma.serving import client

POSTED, LABELS, STREAM = "posted.jsonl", "labels.csv", "stream.json"  # in the folder of a stream
LABEL_COLUMNS = ("prediction_id", "image_sha256", LABEL, "diagnosis", "labelled_at")
QUALITY = 95  # of the JPEG of a changed image
NUM_BETWEEN, UPDATE_SECONDS = 50, 2.0  # images or seconds between two versions of the label file
BUSY, REFUSED = 503, 400
MAX_ATTEMPTS = 60  # for an image while the server is busy
NOT_RECORDED = (
    "{url} answered without a prediction_id, so it records nothing and no label could be joined. Start it "
    "with MELANOMA_RECORDS set, see infra/records/README.md."
)
Cast = tuple[float, float, float]


@dataclass(frozen=True)
class Stream:
    """A dataset as a stream of images.

    Attributes:
        dataset: Name of a dataset with a reader.
        raw: Its raw folder.
        cast: Factors of red, green and blue, a planted change of the camera; None posts the files unchanged.
        num_images: Number of images, drawn by the seed; None for all.
        seed: Decides about their order and about which answers are verified.
        patients: Put before the id of each patient or lesion, so that those of two streams differ.
    """

    dataset: str
    raw: Path
    cast: Cast | None
    num_images: int | None
    seed: int
    patients: str = ""


def run(
    stream: Stream, params: Params, out: Path, *, url: str, rate: float | None, label_delay: float
) -> str:
    """Post the images that were not posted yet, and write labels until the last one is due.

    Args:
        stream: The images.
        params: Content of params.yaml; sections `replay` and `target`.
        out: Folder of the stream: `posted.jsonl`, a line for each image, and `labels.csv` for
            `pipelines.monitor`. A second call with the same stream goes on where the first one ended.
        url: Address of the server.
        rate: Images per second, at most; None posts as fast as the server answers.
        label_delay: Seconds from an answer to its label, if it gets one.

    Returns:
        A summary line.

    Raises:
        DataError: The dataset cannot be read, or `out` belongs to another stream.
        TrackingError: The server does not answer, fails, or records nothing.
    """
    rows = _in_order(stream, params)
    with files.exclusive_lock(out / "lock", f"the stream in {out}"):
        _require_same_stream(stream, out)
        done = read_posted(out)
        todo = rows[~rows["image_id"].isin(done["image_id"])]
        with (out / POSTED).open("a", encoding="utf-8") as file:
            posted = tqdm(_post(todo, stream, url, rate), "replay", len(todo), unit="image", disable=None)
            for number, line in enumerate(posted):
                file.write(json.dumps(line) + "\n")
                file.flush()
                if number % NUM_BETWEEN == 0:
                    write_labels(out, params.replay, seed=stream.seed, label_delay=label_delay)
        _wait_for_labels(out, params.replay, seed=stream.seed, label_delay=label_delay)
    return _describe(out, len(todo))


def _wait_for_labels(out: Path, settings: Replay, *, seed: int, label_delay: float) -> None:
    left = write_labels(out, settings, seed=seed, label_delay=label_delay)
    with tqdm(total=left, desc="labels", unit="label", disable=None) as bar:
        while left:
            time.sleep(UPDATE_SECONDS)
            before, left = left, write_labels(out, settings, seed=seed, label_delay=label_delay)
            bar.update(before - left)


def read_posted(out: Path) -> pd.DataFrame:
    """The posted images of a stream, with what is known of them and what was answered.

    A last line that a killed call left unfinished is removed.
    """
    path = out / POSTED
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        files.write_bytes(whole, path)
    columns = ["image_id", "group_id", "target", "diagnosis", "posted_at", "problem"]
    columns += ["prediction_id", "image_sha256", "decision", "probability"]
    return pd.DataFrame([json.loads(line) for line in whole.splitlines()], columns=columns)


def write_labels(out: Path, settings: Replay, *, seed: int, label_delay: float) -> int:
    """Write the labels that are due; returns the number of those that will follow.

    Whether an answer is verified depends on its decision, by `settings.verified`, and on its group.

    Args:
        out: Folder of the stream.
        settings: Section `replay` of params.yaml.
        seed: Seed of the stream.
        label_delay: Seconds from an answer to its label.
    """
    posted = read_posted(out)
    posted = posted[posted["target"].notna() & posted["prediction_id"].notna()]
    share = posted["decision"].map(settings.verified).astype(float)
    unit = posted["group_id"].fillna(posted["image_id"])
    number = unit.map(lambda one: generator_of(f"verified {seed} {one}").random()).astype(float)
    verified = posted[number < share]
    due = pd.to_datetime(verified["posted_at"], utc=True) + pd.Timedelta(seconds=label_delay)
    is_due = due <= datetime.now(UTC)
    labels = verified.assign(label=_in_words(verified), labelled_at=due.map(lambda one: one.isoformat()))
    files.write_csv(labels.loc[is_due, list(LABEL_COLUMNS)], out / LABELS)
    return int((~is_due).sum())


def read_queue(out: Path, queue: Path, labelled: Path) -> str:
    """Fill in the labels of a label queue with what is known of the posted images.

    Args:
        out: Folder of the stream.
        queue: CSV of `pipelines.queue`.
        labelled: CSV file to write.

    Returns:
        A summary line.

    Raises:
        DataError: The queue is no table of images.
    """
    rows = read_table(queue, ["image_sha256", *LABEL_COLUMNS]).rows
    if "image_sha256" not in rows:
        raise DataError(f"{queue} has no column image_sha256. Give the CSV that `pipelines.queue` wrote.")
    known = read_posted(out).dropna(subset=["target"]).drop_duplicates("image_sha256", keep="last")
    known = known.assign(label=_in_words(known)).set_index("image_sha256")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    label, diagnosis = (rows["image_sha256"].map(known[name]) for name in (LABEL, "diagnosis"))
    files.write_csv(
        rows.assign(
            label=label, diagnosis=diagnosis, labelled_at=label.notna().map({True: now, False: None})
        ),
        labelled,
    )
    return f"{int(label.notna().sum())} of {len(rows)} images of {queue} labelled -> {labelled}"


def _in_order(stream: Stream, params: Params) -> pd.DataFrame:
    target = params.target
    rows = readers.read_records(
        stream.dataset,
        stream.raw,
        licence=None,
        attribution=None,
        positive=target.positive,
        malignant_without_diagnosis=target.malignant_without_diagnosis,
    )
    group = stream.patients + rows["patient_id"].fillna(rows["lesion_id"])
    rows = rows.assign(group_id=group)[["image_id", "group_id", "target", "diagnosis", "path"]]
    order = np.random.default_rng(stream.seed).permutation(len(rows))
    return rows.iloc[order[: stream.num_images]]


def _require_same_stream(stream: Stream, out: Path) -> None:
    path = out / STREAM
    described = files.as_json(asdict(stream) | {"raw": str(stream.raw)})
    described = json.loads(json.dumps(described))
    if path.exists() and (known := files.read_json(path)) != described:
        other = [name for name in described if described[name] != known.get(name)]
        raise DataError(
            f"{out} belongs to another stream: {', '.join(other)} differ. Give another --out, or the same "
            "options."
        )
    files.write_json(described, path)


def _post(rows: pd.DataFrame, stream: Stream, url: str, rate: float | None) -> Iterator[dict[str, Any]]:
    """What is known of each image and what the server answered, at the rate of the stream."""
    started = time.monotonic()
    for number, row in enumerate(rows.to_dict("records")):
        if rate is not None:
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
        known = {str(name): None if pd.isna(value) else value for name, value in row.items()}
        encoded = cast_colours(images.read_bytes(Path(str(known.pop("path")))), stream.cast)
        answer = _ask(url, known, encoded)
        yield known | answer | {"posted_at": datetime.now(UTC).isoformat()}


def _ask(url: str, known: Mapping[str, Any], encoded: bytes) -> dict[str, Any]:
    """The answer about an image, or why it was refused."""
    image_id = known["image_id"]
    posted = {image_id: encoded}, {image_id: known["group_id"]}
    for _ in range(MAX_ATTEMPTS):
        response = client.post_images(url, posted[0], groups=posted[1])
        if response.status_code != BUSY:
            break
        time.sleep(float(response.headers.get("Retry-After", 1)))
    if response.status_code == REFUSED:
        return {"problem": response.text}
    if not response.ok:
        raise TrackingError(f"{url} answered {response.status_code}: {response.text[:500]}")
    (answer,) = response.json()["predictions"]
    if answer.get("prediction_id") is None:
        raise TrackingError(NOT_RECORDED.format(url=url))
    return {name: answer[name] for name in ("prediction_id", "image_sha256", "decision", "probability")}


def cast_colours(encoded: bytes, cast: Cast | None) -> bytes:
    """The image as a camera with another white balance would have taken it, as JPEG.

    Args:
        encoded: Bytes of an image file; a damaged one stays as it is, so that the server refuses it.
        cast: Factors of red, green and blue; None changes nothing.
    """
    if cast is None:
        return encoded
    try:
        pixels = images.decode(encoded)
    except ImageError:
        return encoded
    changed = np.clip(pixels * np.array(cast), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(changed).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def _in_words(rows: pd.DataFrame) -> pd.Series:
    return rows["target"].astype(float).map({1.0: POSITIVE, 0.0: NEGATIVE})


def _describe(out: Path, num_new: int) -> str:
    posted, labels = read_posted(out), files.read_csv(out / LABELS)
    num_refused = int(posted["problem"].notna().sum())
    decisions = ", ".join(f"{number} {name}" for name, number in posted["decision"].value_counts().items())
    before = f" ({len(posted) - num_new} of them earlier)" if len(posted) > num_new else ""
    counts = f"{decisions}, {num_refused} refused; {len(labels)} labels"
    return f"{len(posted)} images posted{before}: {counts} -> {out}"
