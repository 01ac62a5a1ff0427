"""Which images a reader should label next.

Images of the audit come first, and all of them: the sensitivity in use is only right if whatever was drawn is
labelled. The other reasons take turns for the places that `size` allows:

* refer band: the probability lies in the referral band; those nearest to the threshold first.
* unlike the reference: the largest distance from the training images as the served model measured it, or from
  the nearest neighbours among the answers of a reference period.
* disagreement: the largest difference between the probabilities of the model and its shadow.
"""

from collections.abc import Collection, Iterator
from itertools import cycle

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from melanoma.monitoring.audit_draws import answered
from melanoma.scoring.operating_point import REFER

AUDIT, REFER_BAND, UNLIKE, DISAGREEMENT = "audit", "refer band", "unlike the reference", "disagreement"
DISTANCE, SHADOW = "fact_distance", "shadow_probability"  # columns of the records
NUM_NEIGHBOURS = 5
COLUMNS = (
    *("rank", "prediction_id", "image_id", "image_sha256", "group_key", "time", "probability", "decision"),
    *("why", "probability_drawn"),
)


def rank(
    rows: pd.DataFrame,
    draws: pd.DataFrame,
    *,
    size: int,
    labelled: Collection[str] = (),
    candidates: pd.DataFrame | None = None,
    reference: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The queue of one model, first image first.

    Args:
        rows: All `records.Records.rows` of the model.
        draws: Draws of the audit of the model, see `audit_draws.read`.
        size: Number of images beside those of the audit.
        labelled: `image_sha256` of images that have a label; they are left out.
        candidates: The rows of a period, from which the other images are taken; None takes `rows`.
        reference: Rows whose embeddings say what is usual; None uses the distance from the training images.

    Returns:
        Columns `COLUMNS`. All images that a drawn group had on its first day, which alone have a
        `probability_drawn`; then one image of each other group.
    """
    audit = _audit(answered(rows), draws, labelled)
    others = answered(rows if candidates is None else candidates)
    is_listed = others["group"].isin(audit["group"]) | others["image_sha256"].isin(audit["image_sha256"])
    others = others[~is_listed & ~others["image_sha256"].isin(list(labelled))]
    chosen = _take_turns(others, _orders(others, reference), size)
    listed = [audit.assign(why=AUDIT)] if len(audit) else []
    listed += [
        others.loc[[row for row, _ in chosen]].assign(
            why=[why for _, why in chosen], probability_drawn=np.nan
        )
    ]
    queue = pd.concat(listed, ignore_index=True)
    return queue.assign(rank=np.arange(1, len(queue) + 1))[list(COLUMNS)]


def _audit(answers: pd.DataFrame, draws: pd.DataFrame, labelled: Collection[str]) -> pd.DataFrame:
    """The images without a label that drawn groups had on their first day, in order of time."""
    drawn = draws.loc[draws["is_drawn"], ["prediction_id", "probability_drawn"]]
    found = answers.merge(drawn, on="prediction_id", validate="1:1")
    found = found[~found["image_sha256"].isin(list(labelled))].drop_duplicates(["group", "image_sha256"])
    return found.sort_values(["time", "prediction_id"], kind="stable")


def _orders(answers: pd.DataFrame, reference: pd.DataFrame | None) -> dict[str, list[int]]:
    """The rows of each reason, as labels of the index, the best one first."""
    is_in_band = (answers["decision"] == REFER) & answers["reason"].isna()
    to_threshold = (answers["probability"] - answers["threshold"]).abs().where(is_in_band)
    if reference is not None:
        distance = neighbour_distance(answers, reference)
    else:
        distance = answers.get(DISTANCE, pd.Series(np.nan, index=answers.index))
    shadow = answers.get(SHADOW, pd.Series(np.nan, index=answers.index))
    difference = (answers["probability"] - shadow).abs()
    values = {
        REFER_BAND: -to_threshold,
        UNLIKE: distance,
        DISAGREEMENT: difference.where(difference > 0),
    }
    keys = answers[["time", "prediction_id"]]
    return {
        why: keys.assign(value=value)
        .dropna(subset=["value"])
        .sort_values(["value", "time", "prediction_id"], ascending=[False, True, True])
        .index.tolist()
        for why, value in values.items()
    }


def _take_turns(answers: pd.DataFrame, orders: dict[str, list[int]], size: int) -> list[tuple[int, str]]:
    """Rows in turn from each order, at most `size`, none of a group or image that was taken before."""
    groups, images = answers["group"].to_dict(), answers["image_sha256"].to_dict()
    taken: set[tuple[str, str]] = set()

    def free(order: list[int]) -> Iterator[int]:
        for row in order:
            names = {("group", groups[row]), ("image", images[row])}
            if not names & taken:
                taken.update(names)
                yield row

    left = {why: free(order) for why, order in orders.items()}
    chosen: list[tuple[int, str]] = []
    done: set[str] = set()
    for why in cycle(orders):
        if len(chosen) >= size or len(done) == len(orders):
            break
        row = next(left[why], None)
        if row is None:
            done.add(why)
        else:
            chosen.append((row, why))
    return chosen


def neighbour_distance(rows: pd.DataFrame, reference: pd.DataFrame) -> pd.Series:
    """Mean distance of each row's embedding to its nearest ones in the reference; nan without embeddings.

    Embeddings have unit length. Only those of the same network are compared.

    Args:
        rows: Records with `embedding` and `network_sha256`.
        reference: Records of a reference period; no row may be in both.
    """
    found = pd.Series(np.nan, index=rows.index)
    for network, mine in rows[rows["embedding"].notna()].groupby("network_sha256"):
        known = reference[(reference["network_sha256"] == network) & reference["embedding"].notna()]
        if len(known):
            nearest = NearestNeighbors(n_neighbors=min(NUM_NEIGHBOURS, len(known))).fit(_vectors(known))
            found.loc[mine.index] = nearest.kneighbors(_vectors(mine))[0].mean(axis=1)
    return found


def _vectors(rows: pd.DataFrame) -> np.ndarray:
    """Embeddings of unit length, shape `(num_rows, num_features)`."""
    given = np.stack([np.frombuffer(one, "<f2").astype(np.float32) for one in rows["embedding"]])
    length = np.linalg.norm(given, axis=1, keepdims=True)
    return given / np.where(length > 0, length, 1)
