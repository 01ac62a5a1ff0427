"""Which images are copies of each other: the same bytes, the same pixels, or near duplicates.

A near duplicate is a recompressed or resized copy, in any of 8 orientations, or a second scan of one slide.
Other rotations and crops are mostly missed: 10 of 31 copies rotated by 3 degrees were found, and 9 of 31
cropped by 3 % at each edge.
Perceptual hashes give candidates, and the correlation of fine structure confirms them: the hashes of dark
blobs in the middle of bright skin are close for many different lesions (629 pairs of ISIC and PH2 lie within
6 bits, 18 of them are copies). Known pairs, which people found, are added.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from melanoma.data.groups import fine_structure, hamming
from melanoma.data.hashes import THUMBNAIL_SIDE

FACT_COLUMNS = ["image_id", "decodes", "sha256", "pixels_sha256", "phashes", "thumbnail"]

SAME_BYTES = "same bytes"
SAME_PIXELS = "same pixels"
NEAR_DUPLICATE = "near duplicate"
REASONS = (SAME_BYTES, SAME_PIXELS, NEAR_DUPLICATE)


def find_duplicates(
    facts: pd.DataFrame,
    *,
    max_distance: int,
    min_correlation: float,
    fine_structure_sigma: float,
    known_pairs: list[list[str]],
) -> pd.DataFrame:
    """Pairs of images that are copies of each other, among all images that decode.

    Each of several identical images is paired with the first one, and only the first is compared with other
    images: a file that is there a thousand times gives 999 pairs, not half a million.

    Args:
        facts: Columns `FACT_COLUMNS`; images that do not decode are left out.
        max_distance: Bits in which the perceptual hashes of a candidate pair may differ, 0 to 7.
        min_correlation: Correlation of fine structure from which a candidate pair counts as copies.
        fine_structure_sigma: Sigma of the blur that is subtracted, in pixels of the thumbnail.
        known_pairs: Pairs of image ids that people found; pairs with absent images are ignored.

    Returns:
        Columns `image_id`, `other_image_id`, `reason` (the strongest one of the pair), `distance` of the
        perceptual hashes in bits and `correlation` of fine structure, both in the best of 8 orientations.
        Ordered by ids, the smaller id of a pair first, whatever the order of `facts`.
    """
    decoded = facts[facts["decodes"].astype(bool)].sort_values("image_id").reset_index(drop=True)
    hashes, thumbnails = _arrays(decoded)
    correlations = partial(fine_structure.correlations, thumbnails, sigma=fine_structure_sigma)
    candidates = _candidates(decoded["pixels_sha256"], hashes, max_distance)
    near = [rows[correlations(rows) >= min_correlation] for rows in candidates]
    pairs = pd.concat(
        [
            _equal_pairs(decoded["sha256"], SAME_BYTES),
            _equal_pairs(decoded["pixels_sha256"], SAME_PIXELS),
            _pairs(np.concatenate([np.empty((0, 2), np.int64), *near]), NEAR_DUPLICATE),
            _known_pairs(decoded["image_id"], known_pairs),
        ]
    )
    pairs = pairs.drop_duplicates(["row", "other"]).sort_values(["row", "other"])
    rows = pairs[["row", "other"]].to_numpy()
    ids = decoded["image_id"].to_numpy()
    found = pd.DataFrame(
        {
            "image_id": ids[rows[:, 0]],
            "other_image_id": ids[rows[:, 1]],
            "reason": pairs["reason"].to_numpy(),
            "distance": _distances(hashes, rows),
            "correlation": correlations(rows).round(4),
        }
    )
    return found.astype({"image_id": "string", "other_image_id": "string", "reason": "string"})


def _arrays(decoded: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Hashes `(n, 8)` uint64 and thumbnails `(n, side, side)` uint8."""
    hashes = np.array(decoded["phashes"].tolist(), dtype=np.int64).reshape(-1, 8).view(np.uint64)
    grey = np.frombuffer(b"".join(decoded["thumbnail"]), np.uint8)
    return hashes, grey.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)


def _pairs(rows: np.ndarray, reason: str) -> pd.DataFrame:
    return pd.DataFrame({"row": rows[:, 0], "other": rows[:, 1], "reason": reason})


def _equal_pairs(values: pd.Series, reason: str) -> pd.DataFrame:
    """Pair each row with the first one that has the same value; a missing value equals nothing."""
    known = values.dropna()
    first = pd.Series(known.index, index=known.index).groupby(known).transform("min")
    rows = np.stack([first, known.index], axis=1).astype(np.int64)
    return _pairs(rows[rows[:, 0] != rows[:, 1]], reason)


def _candidates(pixels: pd.Series, hashes: np.ndarray, max_distance: int) -> Iterator[np.ndarray]:
    """Yield blocks of pairs of rows with close hashes; of rows with equal `pixels` only the first counts."""
    firsts = np.flatnonzero(pixels.isna() | ~pixels.duplicated())
    return (firsts[block] for block in hamming.neighbour_blocks(hashes[firsts], max_distance))


def _known_pairs(image_ids: pd.Series, known: list[list[str]]) -> pd.DataFrame:
    """Pairs that people found; pairs with absent images are ignored."""
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    rows = [sorted(map(row_of.__getitem__, pair)) for pair in known if set(pair) <= set(row_of)]
    return _pairs(np.array(rows, np.int64).reshape(-1, 2), NEAR_DUPLICATE)


def _distances(hashes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Bits (uint8) in which the hashes of each pair of rows differ in the best orientation."""
    one, other = hashes[rows[:, 0]], hashes[rows[:, 1]]
    apart = np.bitwise_count(np.concatenate([one[:, :1] ^ other, other[:, :1] ^ one], axis=1))
    return apart.min(axis=1, initial=64)


def summarize(pairs: pd.DataFrame, facts: pd.DataFrame) -> dict[str, Any]:
    """What `reports/duplicates.json` holds.

    Args:
        pairs: From `find_duplicates`.
        facts: Columns `image_id`, `dataset` and `decodes`.
    """
    counts = pairs["reason"].value_counts()
    dataset_of = dict(zip(facts["image_id"], facts["dataset"], strict=True))
    return {
        "num_images": int(facts["decodes"].sum()),
        "num_pairs": len(pairs),
        "num_pairs_by_reason": {reason: int(counts.get(reason, 0)) for reason in REASONS},
        "pairs": [
            {
                "images": [pair.image_id, pair.other_image_id],
                "datasets": [dataset_of[pair.image_id], dataset_of[pair.other_image_id]],
                "reason": pair.reason,
                "distance": pair.distance,
                "correlation": pair.correlation,
            }
            for pair in pairs.itertuples()
        ],
    }
