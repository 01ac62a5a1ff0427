"""The features by which a window of records is compared with a reference.

Both have the columns of `records.table`. Features are the score, whether a row was referred or refused, the
image facts, and the coordinates of the embedding on the principal axes of the reference.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma.monitoring.records import FACT
from melanoma.scoring.operating_point import REFER

SCORE, REFERRED, REFUSED, AXIS = "score", "referred", "refused", "embedding_axis_"


@dataclass(frozen=True)
class Axes:
    """Principal axes of the embeddings of a reference.

    Attributes:
        mean: Shape `(num_features,)`.
        axes: Shape `(num_axes, num_features)`; no axes where the reference has no embeddings.
    """

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, reference: pd.DataFrame, num_axes: int) -> "Axes":
        """The first `num_axes` axes, or as many as there are.

        Args:
            reference: Column `embedding`, bytes of float16.
            num_axes: Number of axes, at least 0.
        """
        given = _decoded(reference)
        if not len(given):
            return cls(np.zeros(0), np.zeros((0, 0)))
        mean = given.mean(0)
        _, _, axes = np.linalg.svd(given - mean, full_matrices=False)
        return cls(mean, axes[:num_axes])

    def coordinates(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Coordinates of each row, columns `AXIS` and a number from 1; nan without an embedding."""
        found = np.full((len(rows), len(self.axes)), np.nan)
        has_one = rows["embedding"].notna().to_numpy()
        if has_one.any() and len(self.axes):
            found[has_one] = (_decoded(rows) - self.mean) @ self.axes.T
        names = [f"{AXIS}{number}" for number in range(1, len(self.axes) + 1)]
        return pd.DataFrame(found, index=rows.index, columns=names)


def _decoded(rows: pd.DataFrame) -> np.ndarray:
    """Embeddings of the rows that have one, shape `(num, num_features)`, float64."""
    given = [np.frombuffer(one, "<f2") for one in rows["embedding"].dropna()]
    return np.stack(given).astype(np.float64) if given else np.zeros((0, 0))


def features(rows: pd.DataFrame, axes: Axes, facts: list[str]) -> pd.DataFrame:
    """One row per record, one numeric column per feature; nan where a row was refused.

    Args:
        rows: Records or a reference.
        axes: Axes of the reference.
        facts: Columns of facts with the prefix `records.FACT`.
    """
    is_refused = rows["refusal"].notna() if "refusal" in rows else pd.Series(False, index=rows.index)
    found = pd.DataFrame(
        {
            SCORE: rows["score"].astype(float),
            REFERRED: rows["decision"].eq(REFER).astype(float).where(~is_refused),
            REFUSED: is_refused.astype(float),
        }
    )
    for name in facts:
        found[name.removeprefix(FACT)] = rows[name].astype(float) if name in rows else np.nan
    return found.join(axes.coordinates(rows))


def group_of(rows: pd.DataFrame) -> pd.Series:
    """Patient or lesion of each record: its keyed hash, or else the image."""
    image = "image " + rows["image_sha256"].astype("str")
    return rows["group_key"].astype(object).where(rows["group_key"].notna(), image)
