"""Record every answered row where `MELANOMA_RECORDS` says, so that a served model can be watched.

The records of a process are JSON lines in a file of its own, the spool. A line is written before its answer
is sent, so a killed process loses none that a client received; the operating system writes it to disk within
`spool.SYNC_SECONDS`. The process holds a lock on the file; a file without a lock is complete, and
`python -m pipelines.records compact` turns it into Parquet. A disk that is full or gone never breaks an
answer: the lost records are counted and logged.

A record holds no pixels; `serve.keep_images` keeps the image files beside the records. Of a `group_id` it
holds a keyed hash.
"""

import base64
import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from melanoma.data.signatures import stored_size
from melanoma.errors import TrackingError
from melanoma.serving.spool import SYNC_SECONDS, Spool

# Environment of a server: where the records go (a folder or s3://bucket/folder), where they are written first
# (by default the folder `spool` there; needed with s3://), and the secret with which group ids are hashed.
RECORDS, RECORDS_SPOOL, RECORDS_KEY = "MELANOMA_RECORDS", "MELANOMA_RECORDS_SPOOL", "MELANOMA_RECORDS_KEY"
MIN_KEY_LENGTH = 32  # characters
SCHEMA_VERSION = 1
SPOOL, IMAGES = "spool", "images"
COMPLAINT_SECONDS = 60.0  # between two log messages about lost records
S3 = "s3://"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recorded:
    """The model whose answers are recorded.

    Attributes:
        model_name: Name in the registry; None if the model is not from a registry.
        model_version: Version in the registry, else the run that trained the network.
        network_sha256: Hex digest of the network.
        num_views: Number of orientations of each image that are scored.
    """

    model_name: str | None
    model_version: str
    network_sha256: str
    num_views: int


@dataclass(frozen=True)
class Asked:
    """The rows of a request.

    Attributes:
        images: Encoded images.
        image_ids: Id of each image, or None.
        group_ids: Patient or lesion of each image, or None.
        started: `time.monotonic()` when the work on them began.
    """

    images: Sequence[bytes]
    image_ids: Sequence[str | None]
    group_ids: Sequence[str | None]
    started: float


@dataclass(frozen=True)
class Written:
    """The record of an answer, as far as the line of a challenger repeats it.

    Attributes:
        prediction_id: Id of the answer.
        time: Time of the answer, as in the record.
        group_key: Keyed hash of its group; None if none was posted.
        image_sha256: Hex digest of the image.
    """

    prediction_id: str
    time: str
    group_key: str | None
    image_sha256: str


class Recorder:
    """Writes the records of a model's answers; counts those that it wrote and lost."""

    def __init__(self, spool: Path, *, key: str, model: Recorded, images: Path | None = None) -> None:
        """Record the answers of `model`.

        Args:
            spool: Folder of the spool.
            key: Secret with which group ids are hashed.
            model: The model.
            images: Folder that keeps the image files, named by their digest; None keeps none.
        """
        self.num_written, self.num_lost = 0, 0
        self._spool, self._key, self._images = Spool(spool), key.encode(), images
        self._model = asdict(model)
        self._lock = threading.Lock()
        self._complained = -COMPLAINT_SECONDS
        self._syncing: threading.Thread | None = None

    def answered(
        self,
        asked: Asked,
        columns: Mapping[str, Sequence[Any]],
        *,
        scores: np.ndarray,
        facts: Sequence[Mapping[str, float]],
        features: np.ndarray | None,
        seconds: Mapping[str, float],
    ) -> list[Written]:
        """Record the rows of an answer before it is sent.

        Args:
            asked: The rows of the request.
            columns: Columns of the answer; `image_sha256`, `probability`, `decision`, `reason` and
                `threshold` are recorded.
            scores: Score of each row before calibration, shape `(n,)`.
            facts: Facts of each image by name.
            features: Pooled features of the network, shape `(n, num_features)`; None if it has none.
            seconds: Duration of the parts of the work.

        Returns:
            What was written of each row.
        """
        milliseconds = {name: round(1000 * value, 3) for name, value in seconds.items()}
        rows = [
            self._row(asked, number, columns["image_sha256"][number])
            | {name: columns[name][number] for name in ("probability", "decision", "reason", "threshold")}
            | {
                "score": float(scores[number]),
                "facts": {name: _short(value) for name, value in facts[number].items()},
                "embedding": None if features is None else _packed(features[number]),
                "milliseconds": milliseconds,
            }
            for number in range(len(asked.images))
        ]
        self._write(rows)
        if self._images is not None:
            self._keep(self._images, dict(zip(columns["image_sha256"], asked.images, strict=True)))
        names = [one.name for one in fields(Written)]
        return [Written(**{name: row[name] for name in names}) for row in rows]

    def refused(self, asked: Asked, reasons: Mapping[int, str]) -> None:
        """Record the rows that made the request be refused.

        Args:
            asked: The rows of the request.
            reasons: Why a row was refused, by its number.
        """
        self._write(
            [
                self._row(asked, number, hashlib.sha256(asked.images[number]).hexdigest())
                | {"refusal": reason}
                for number, reason in reasons.items()
            ]
        )

    def shadowed(self, of: Written, answer: Mapping[str, Any]) -> bool:
        """Record what a challenger answers beside an answer.

        The line has the time of the answer, so that both are erased and expire together.

        Args:
            of: The answer.
            answer: Model and answer of the challenger, see `scorer.MelanomaScorer.in_shadow`.

        Returns:
            Whether the line was written.
        """
        shared = asdict(of)
        row = {"schema": SCHEMA_VERSION, "shadow_of": shared.pop("prediction_id"), **shared}
        return self._append([row | {"scored_at": _now()} | dict(answer)], num_records=0)

    @property
    def unsynced_seconds(self) -> float:
        """Age of the oldest record that is not on the disk yet; 0 if all are."""
        return self._spool.unsynced_seconds

    def close(self) -> None:
        """Close the file of the spool; the next record begins another one."""
        self._spool.close()

    def _row(self, asked: Asked, number: int, digest: str) -> dict[str, Any]:
        """What is recorded of every row, answered or refused."""
        encoded, group_id = asked.images[number], asked.group_ids[number]
        width, height = stored_size(encoded) or (None, None)
        return {
            "schema": SCHEMA_VERSION,
            "prediction_id": secrets.token_hex(16),
            "time": _now(),
            "image_id": asked.image_ids[number],
            "group_key": None if group_id is None else group_key(group_id, self._key),
            "image_sha256": digest,
            "num_bytes": len(encoded),
            "width": width,
            "height": height,
            **self._model,
        }

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._append(rows, num_records=len(rows))

    def _append(self, rows: Sequence[Mapping[str, Any]], *, num_records: int) -> bool:
        """Write lines, all or none, of which `num_records` count as records; whether it worked."""
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        try:
            self._spool.append(lines)
        except OSError as error:
            self._lose(num_records, error)
            return False
        with self._lock:
            self.num_written += num_records
            if self._syncing is None:
                self._syncing = threading.Thread(target=self._sync, name="records", daemon=True)
                self._syncing.start()
        return True

    def _sync(self) -> None:
        while True:
            time.sleep(SYNC_SECONDS)
            try:
                self._spool.sync()
            except OSError as error:
                self._lose(0, error)

    def _lose(self, num_rows: int, error: OSError) -> None:
        with self._lock:
            self.num_lost += num_rows
            now = time.monotonic()
            is_due = now - self._complained >= COMPLAINT_SECONDS
            if is_due:
                self._complained = now
        if is_due:
            _log.error("records cannot be written (%s); %d lost so far", error, self.num_lost)

    def _keep(self, folder: Path, images: Mapping[str, bytes]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for digest, encoded in images.items():
                path = folder / digest
                if not path.exists():
                    beside = path.with_name(f".{digest}-{secrets.token_hex(4)}")
                    beside.write_bytes(encoded)
                    beside.replace(path)
        except OSError as error:
            self._lose(0, error)


def open_recorder(model: Recorded, *, keep_images: bool) -> Recorder | None:
    """A recorder as the environment asks for it; None if `MELANOMA_RECORDS` is not set.

    Args:
        model: The model whose answers are recorded.
        keep_images: Whether the image files are kept, too.

    Raises:
        TrackingError: The environment has no key, a short one, or no spool for records in S3.
    """
    place = os.environ.get(RECORDS)
    if not place:
        return None
    spool = spool_of(place)
    key = key_of_groups()
    return Recorder(spool, key=key, model=model, images=spool / IMAGES if keep_images else None)


@contextmanager
def unrecorded() -> Iterator[None]:
    """Models that are loaded in the block record nothing: their answers are tests, not those of a clinic."""
    place = os.environ.pop(RECORDS, None)
    try:
        yield
    finally:
        if place is not None:
            os.environ[RECORDS] = place


def spool_of(place: str) -> Path:
    """Folder of the spool for records that go to a folder or to S3.

    Raises:
        TrackingError: The records go to S3, and the environment names no folder for the spool.
    """
    named = os.environ.get(RECORDS_SPOOL)
    if named:
        return Path(named)
    if place.startswith(S3):
        raise TrackingError(
            f"{RECORDS} is {place}, but {RECORDS_SPOOL} is not set. Set it to a folder on a local disk where "
            "records are written first."
        )
    return Path(place) / SPOOL


def key_of_groups() -> str:
    """The secret with which group ids are hashed, from the environment.

    Raises:
        TrackingError: It is missing or too short.
    """
    key = os.environ.get(RECORDS_KEY, "")
    if len(key) < MIN_KEY_LENGTH:
        raise TrackingError(
            f"{RECORDS_KEY} has {len(key)} characters, but records need a secret of at least "
            f"{MIN_KEY_LENGTH}, the same for all servers of a clinic: group ids are hashed with it. Make one "
            "with `openssl rand -hex 32`, and keep it: without it no patient can be found or erased."
        )
    return key


def group_key(group_id: str, key: bytes) -> str:
    """Keyed hash of a patient's or lesion's id, as hex."""
    return hmac.new(key, group_id.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _packed(features: np.ndarray) -> str:
    """Base64 of float16 in little-endian order."""
    return base64.b64encode(features.astype("<f2").tobytes()).decode()
