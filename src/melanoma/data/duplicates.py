"""Which images show the same lesion: exact and near duplicates, and the groups that must stay together.

A near duplicate is a recompressed, resized, rotated or mirrored copy. Candidates come from perceptual
hashes; what confirms them is the correlation of fine structure, because the hashes of dark blobs in
the middle of bright skin are close for many different lesions (on ISIC and PH2 together 482 pairs lie
within 6 bits, 11 of them are copies).
"""

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from melanoma.data.facts import THUMBNAIL_SIDE, orientations
from melanoma.errors import DataError, first_offenders

BLOCK = 512  # rows compared with all later rows at once: memory grows with N, not with N squared
FINE_STRUCTURE_SIGMA = 4.0  # pixels of the thumbnail; removes the blob and the dark corners
PAIR_COLUMNS = ("image_id", "other_image_id", "reason")

SAME_BYTES = "same bytes"
SAME_PIXELS = "same pixels"
NEAR_DUPLICATE = "near duplicate"


def find_duplicates(facts: pd.DataFrame, *, max_distance: int, min_correlation: float) -> pd.DataFrame:
    """Pairs of images that are copies of each other.

    Args:
        facts: Columns of `facts.FACT_DTYPES`; every image decodes.
        max_distance: Bits of 64 in which the perceptual hashes may differ, in the best orientation.
        min_correlation: Of fine structure in the best orientation, in -1..1.

    Returns:
        Columns `image_id`, `other_image_id`, `reason`; the strongest reason once for each pair.
    """
    pairs = pd.concat(
        [
            _equal_pairs(facts, "sha256", SAME_BYTES),
            _equal_pairs(facts, "pixels_sha256", SAME_PIXELS),
            _near_pairs(facts, max_distance, min_correlation),
        ]
    )
    return pairs.drop_duplicates(["image_id", "other_image_id"]).reset_index(drop=True)


def _pairs(rows: list[tuple[str, str]], reason: str) -> pd.DataFrame:
    ordered = [(*sorted(row), reason) for row in rows]
    return pd.DataFrame(ordered, columns=list(PAIR_COLUMNS))


def _equal_pairs(frame: pd.DataFrame, column: str, reason: str) -> pd.DataFrame:
    """Each image paired with the first one that has the same value in `column`."""
    rows = []
    for _, ids in frame.dropna(subset=column).groupby(column, sort=True)["image_id"]:
        first, *others = sorted(ids)
        rows += [(first, other) for other in others]
    return _pairs(rows, reason)


def _near_pairs(facts: pd.DataFrame, max_distance: int, min_correlation: float) -> pd.DataFrame:
    hashes = np.array(facts["phashes"].tolist(), dtype=np.int64).reshape(-1, 8).view(np.uint64)
    grey = np.frombuffer(b"".join(facts["thumbnail"]), np.uint8)
    thumbnails = grey.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    ids = facts["image_id"].tolist()
    rows = [
        (ids[row], ids[column])
        for row, column in _candidates(hashes, max_distance)
        if fine_correlation(thumbnails[row], thumbnails[column]) >= min_correlation
    ]
    return _pairs(rows, NEAR_DUPLICATE)


def _candidates(hashes: np.ndarray, max_distance: int) -> list[tuple[int, int]]:
    """Pairs (row < column) whose hashes differ in at most `max_distance` bits in some orientation.

    Args:
        hashes: Shape `(num_images, 8)`, uint64, one column an orientation.
        max_distance: Bits of 64.
    """
    found = []
    for start in range(0, len(hashes), BLOCK):
        upright = hashes[start : start + BLOCK, 0]
        nearest = np.full((len(upright), len(hashes)), 64, dtype=np.uint8)
        for orientation in range(8):
            differing = upright[:, None] ^ hashes[None, :, orientation]
            np.minimum(nearest, np.bitwise_count(differing), out=nearest)
        rows, columns = np.nonzero(nearest <= max_distance)
        rows = rows + start
        later = rows < columns
        found += list(zip(rows[later].tolist(), columns[later].tolist(), strict=True))
    return found


def fine_correlation(grey: np.ndarray, other: np.ndarray) -> float:
    """Correlation in -1..1 of the fine structure of two thumbnails, in the best of 8 orientations.

    Args:
        grey: Shape `(side, side)`, uint8.
        other: Likewise.
    """
    reference = _fine_structure(grey)
    return max(float((reference * _fine_structure(view)).sum()) for view in orientations(other))


def _fine_structure(grey: np.ndarray) -> np.ndarray:
    detail = grey.astype(np.float32)
    detail = detail - cv2.GaussianBlur(detail, (0, 0), FINE_STRUCTURE_SIGMA)
    detail -= detail.mean()
    return detail / (np.linalg.norm(detail) + 1e-6)


def require_like_labels(pairs: pd.DataFrame, records: pd.DataFrame) -> None:
    """Copies of one image must carry one label.

    Raises:
        DataError: Some do not; names both files of the first five pairs.
    """
    target = records.set_index("image_id")["target"]
    path = records.set_index("image_id")["path"]
    first, second = pairs["image_id"], pairs["other_image_id"]
    unlike = pairs[(target.loc[first].to_numpy() != target.loc[second].to_numpy())]
    if len(unlike):
        names = [
            f"{path[row.image_id]} ({target[row.image_id]}) and "
            f"{path[row.other_image_id]} ({target[row.other_image_id]}): {row.reason}"
            for row in unlike.itertuples()
        ]
        raise DataError(
            f"{len(unlike)} pairs of copies have unlike labels, so at least one label is wrong: "
            f"{first_offenders(names)}. Remove one of each pair from the dataset, or mend its label."
        )


def relate(records: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """All pairs that must stay on one side of a split, with their reasons.

    Args:
        records: Columns `image_id`, `lesion_id`, `patient_id`; ids of lesions and patients count
            within their dataset, blanks relate nothing.
        duplicates: From `find_duplicates`.
    """
    lesions = records.assign(key=records["dataset"] + "/" + records["lesion_id"])
    patients = records.assign(key=records["dataset"] + "/" + records["patient_id"])
    return pd.concat(
        [
            _equal_pairs(lesions, "key", "same lesion"),
            _equal_pairs(patients, "key", "same patient"),
            duplicates,
        ],
        ignore_index=True,
    )


def group_ids(image_ids: pd.Series, relations: pd.DataFrame) -> pd.Series:
    """The group of each image: everything that relations connect, directly or through others.

    Returns:
        Series like `image_ids`; a group is named after its first image, so that its name does not
        depend on which other images there are.
    """
    ids = sorted(image_ids)
    position = {image_id: index for index, image_id in enumerate(ids)}
    rows = relations["image_id"].map(position)
    columns = relations["other_image_id"].map(position)
    edges = coo_array((np.ones(len(relations)), (rows, columns)), shape=(len(ids), len(ids)))
    labels = connected_components(edges, directed=False)[1]
    first_of_label: dict[int, str] = {}
    for image_id, label in zip(ids, labels, strict=True):
        first_of_label.setdefault(int(label), image_id)
    group_of = {i: first_of_label[int(k)] for i, k in zip(ids, labels, strict=True)}
    return image_ids.map(group_of)
