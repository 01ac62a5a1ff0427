"""Which images must stay together: all that one lesion, one patient or copies of one picture connect."""

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
    """All pairs that must stay on one side, with their reasons.

    Args:
        known: Of all images that are accepted or ever were; columns `image_id`, `dataset`, `lesion_id`,
            `patient_id`, `sha256`. Ids of lesions and patients count within their dataset; blanks relate
            nothing.
        copies: Columns `schema.PAIR_COLUMNS`. They may name images that are not accepted: two copies of
            a quarantined image are related through it.
        earlier: Columns `image_id`, `group_id` of images of which nothing else is known now, because
            their dataset is switched off, and of those that were in their groups.

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
    """Each image paired with the first one of the same key; missing keys pair nothing."""
    table = pd.DataFrame({"image_id": image_ids, "key": keys}).dropna()
    first = table.groupby("key")["image_id"].transform("min")
    pairs = pd.DataFrame({"image_id": first, "other_image_id": table["image_id"], "reason": reason})
    return pairs[pairs["image_id"] != pairs["other_image_id"]]


def group_ids(image_ids: Sequence[str], relations: pd.DataFrame) -> dict[str, str]:
    """The group of each image: everything that relations connect, directly or through others.

    Args:
        image_ids: Each once, in any order.
        relations: Columns `schema.PAIR_COLUMNS`; images that are not in `image_ids` connect, but have
            no group of their own.

    Returns:
        The group's name by image: that of its first image in `image_ids`, so that it does not depend on
        which other images there are.
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


def require_like_labels(accepted: pd.DataFrame, copies: pd.DataFrame) -> None:
    """Copies of one picture must carry one label.

    Args:
        accepted: Columns `image_id`, `target`, `path`.
        copies: Columns `schema.PAIR_COLUMNS`; of pairs with images that are not accepted, only what
            identical pictures tell of accepted ones counts.

    Raises:
        DataError: Some do not; names both files of the first five pairs.
    """
    pairs = _between_accepted(accepted["image_id"], copies)
    by_id = accepted.set_index("image_id")
    target, path = by_id["target"], by_id["path"]
    is_unlike = target.loc[pairs["image_id"]].to_numpy() != target.loc[pairs["other_image_id"]].to_numpy()
    if is_unlike.any():
        names = [
            f"{path[pair.image_id]} ({target[pair.image_id]}) and "
            f"{path[pair.other_image_id]} ({target[pair.other_image_id]}): {pair.reason}"
            for pair in pairs[is_unlike].itertuples()
        ]
        raise DataError(
            f"{len(names)} pairs of copies have unlike labels, so at least one label is wrong: "
            f"{first_offenders(names)}. Put the id of one image of each pair into params.yaml: "
            "validate.excluded_ids, or mend its label."
        )


def _between_accepted(image_ids: pd.Series, copies: pd.DataFrame) -> pd.DataFrame:
    """`copies` with an identical accepted image in the place of each that is not accepted.

    Of identical images, only the first is paired with the others and with near duplicates, and just
    that one may have been quarantined.
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
