"""Which images must stay together: those of one lesion, those of one patient, and copies of one picture."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from melanoma.data.groups.duplicates import NEAR_DUPLICATE, SAME_BYTES
from melanoma.errors import DataError, first_offenders
from melanoma.schema import PAIR_COLUMNS

SAME_LESION = "same lesion"
SAME_PATIENT = "same patient"
SAME_GROUP_BEFORE = "same group before"


def relate(known: pd.DataFrame, copies: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    """All pairs of images that must stay in one split, with their reasons.

    Args:
        known: All images that are accepted or ever were; columns `image_id`, `dataset`, `lesion_id`,
            `patient_id`, `sha256`. Ids of lesions and patients are unique within their dataset only. A
            missing id relates nothing.
        copies: Pairs of copies, columns `schema.PAIR_COLUMNS`. They may name images that are not accepted:
            two copies of a quarantined image are related through it.
        earlier: Groups of an earlier assignment, columns `image_id` and `group_id`. Needed for groups with
            images of inactive datasets, of which nothing else is known now.

    Returns:
        Columns `schema.PAIR_COLUMNS`, in order; a pair may have several reasons.
    """
    ids = known["image_id"]
    relations = pd.concat(
        [
            _chain(ids, known["dataset"] + "/" + known["lesion_id"], SAME_LESION),
            _chain(ids, known["dataset"] + "/" + known["patient_id"], SAME_PATIENT),
            _chain(ids, known["sha256"], SAME_BYTES),
            copies[list(PAIR_COLUMNS)],
            _chain(earlier["image_id"], earlier["group_id"], SAME_GROUP_BEFORE),
        ]
    )
    ordered = relations.drop_duplicates().sort_values(list(PAIR_COLUMNS))
    return ordered.astype("string").reset_index(drop=True)


def _chain(image_ids: pd.Series, keys: pd.Series, reason: str) -> pd.DataFrame:
    """Pair each image with the first one that has the same key; a missing key pairs nothing."""
    table = pd.DataFrame({"image_id": image_ids, "key": keys}).dropna()
    first = table.groupby("key")["image_id"].transform("min")
    pairs = pd.DataFrame({"image_id": first, "other_image_id": table["image_id"], "reason": reason})
    return pairs[pairs["image_id"] != pairs["other_image_id"]]


def group_ids(image_ids: Sequence[str], relations: pd.DataFrame) -> dict[str, str]:
    """The group of each image: all images that relations connect, directly or through others.

    Args:
        image_ids: Image ids without repetition, in any order.
        relations: Related pairs, columns `schema.PAIR_COLUMNS`. Images that are not in `image_ids` connect
            others, but get no group.

    Returns:
        Group name by image id. A group is named after the first of its `image_ids` in alphabetical order,
        so its name does not depend on other groups.
    """
    one, other = relations["image_id"], relations["other_image_id"]
    ids = sorted({*image_ids, *one, *other})
    position = pd.Series(np.arange(len(ids)), index=ids)
    rows, columns = position.loc[one].to_numpy(), position.loc[other].to_numpy()
    edges = coo_array((np.ones(len(relations)), (rows, columns)), shape=(len(ids), len(ids)))
    labels = connected_components(edges, directed=False)[1]
    members = sorted(image_ids)
    label_of = pd.Series(labels, index=ids).loc[members]
    names = pd.Series(members, index=members).groupby(label_of.to_numpy()).transform("first")
    return dict(zip(members, names, strict=True))


def require_equal_labels(accepted: pd.DataFrame, copies: pd.DataFrame) -> None:
    """Refuse copies of one picture that have different labels.

    Args:
        accepted: Accepted images, columns `image_id`, `target`, `path`.
        copies: Pairs of copies, columns `schema.PAIR_COLUMNS`. An image that is not accepted counts only
            where an accepted one is identical to it.

    Raises:
        DataError: Names both files of the first five pairs.
    """
    pairs = _between_accepted(accepted["image_id"], copies)
    by_id = accepted.set_index("image_id")
    target, path = by_id["target"], by_id["path"]
    differs = target.loc[pairs["image_id"]].to_numpy() != target.loc[pairs["other_image_id"]].to_numpy()
    if differs.any():
        names = [
            f"{path[pair.image_id]} ({target[pair.image_id]}) and "
            f"{path[pair.other_image_id]} ({target[pair.other_image_id]}): {pair.reason}"
            for pair in pairs[differs].itertuples()
        ]
        raise DataError(
            f"{len(names)} pairs of copies have different labels, so at least one label is wrong: "
            f"{first_offenders(names)}. Put the id of one image of each pair into params.yaml: "
            "validate.excluded_ids, or correct its label."
        )


def _between_accepted(image_ids: pd.Series, copies: pd.DataFrame) -> pd.DataFrame:
    """`copies`, where an identical accepted image replaces each image that is not accepted.

    Among identical images only the first is paired with the others and with near duplicates, and this first
    one may be quarantined.
    """
    identical = copies[copies["reason"] != NEAR_DUPLICATE]
    class_of = group_ids(list({*copies["image_id"], *copies["other_image_id"]}), identical)
    is_accepted = set(image_ids)
    stand_in: dict[str, str] = {}
    for image_id in sorted(is_accepted & set(class_of)):
        stand_in.setdefault(class_of[image_id], image_id)
    pairs = copies.copy()
    for column in ("image_id", "other_image_id"):
        ids = copies[column]
        pairs[column] = ids.where(ids.isin(is_accepted), ids.map(class_of).map(stand_in))
    pairs = pairs.dropna(subset=["image_id", "other_image_id"])
    return pairs[pairs["image_id"] != pairs["other_image_id"]]
