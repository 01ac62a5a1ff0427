"""What a version answered on its validation images: what new answers are compared with.

It is an artifact of the served model, so that monitoring needs no images and no training data. It has no
image ids, and groups are numbered. Its columns are those of records, see `records.table`.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from melanoma import files
from melanoma.errors import DataError
from melanoma.monitoring.records import FACT
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.scoring.unlike import Judgement, refer

MAX_IMAGES = 2000  # of whole groups, drawn by the digest of their id
COLUMNS = ("group_key", "score", "probability", "threshold", "decision", "reason", "embedding")


def seen(
    rows: pd.DataFrame, embeddings: np.ndarray | None, judged: Sequence[Judgement] | np.ndarray = ()
) -> pd.DataFrame:
    """What a network says of validation images, before calibration.

    Args:
        rows: Columns `group_id` and `score`, one row per image.
        embeddings: Pooled features, shape `(num_images, num_features)`; None if the network has none.
        judged: Facts and reasons of the images; empty if unlike images are not referred.

    Returns:
        `rows` with `reason`, `embedding` (bytes of float16, little-endian) and the facts with the prefix
        `records.FACT`.
    """
    rows = rows.reset_index(drop=True)
    facts = pd.DataFrame([one.facts for one in judged], index=rows.index if len(judged) else None)
    coded = [None] * len(rows) if embeddings is None else [one.astype("<f2").tobytes() for one in embeddings]
    reasons = [one.reason for one in judged] if len(judged) else [None] * len(rows)
    return rows.assign(
        reason=pd.Series(reasons, index=rows.index, dtype=object),
        embedding=pd.Series(coded, index=rows.index, dtype=object),
    ).join(facts.add_prefix(FACT))


def write(validation: pd.DataFrame, point: OperatingPoint, path: Path) -> None:
    """Write the reference of a version as Parquet.

    Args:
        validation: Result of `seen`.
        point: Operating point of the version.
        path: The file.
    """
    digests = validation["group_id"].map(lambda one: hashlib.sha256(str(one).encode()).hexdigest())
    ordered = validation.assign(group_key=pd.factorize(digests)[0].astype(str), order=digests)
    ordered = ordered.sort_values("order", kind="stable")
    sizes = ordered.groupby("order", sort=True).size().cumsum()
    kept = set(sizes.index[sizes <= MAX_IMAGES]) | set(sizes.index[:1])
    rows = ordered[ordered["order"].isin(kept)].drop(columns=["order", "group_id"]).reset_index(drop=True)
    files.write_parquet(decided(rows, point), path)


def decided(rows: pd.DataFrame, point: OperatingPoint) -> pd.DataFrame:
    """A reference with the probabilities, threshold and decisions of an operating point.

    Args:
        rows: Columns `score` and `reason`; all others stay.
        point: The operating point.
    """
    probability = point.calibration.apply(rows["score"].to_numpy())
    return rows.assign(
        probability=probability,
        threshold=point.threshold,
        decision=refer(point.decide(probability), rows["reason"].tolist()),
    )


def read(path: Path) -> pd.DataFrame:
    """The reference of a version, with `COLUMNS` and the facts.

    Raises:
        DataError: The file is missing or is not a reference.
    """
    rows = files.read_parquet(path)
    missing = [name for name in COLUMNS if name not in rows]
    if missing:
        raise DataError(f"{path} is no reference of a served model: it lacks {', '.join(missing)}.")
    return rows
