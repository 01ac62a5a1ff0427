"""Looks at a test set: every stage that scores a model on test images records it in the ledger."""

from collections.abc import Iterable
from typing import Any

from melanoma import files, schema
from melanoma.data.packed import Packed
from melanoma.registry import looks


def model_digest(entry: dict[str, Any]) -> str:
    """Identity of a model: its network, operating point, limits, crop, views and code.

    Args:
        entry: Entry of `models.json`, before it is written (nan) or as it is read (None).
    """
    names = ("operating_point", "limits", "code_sha256", "crop", "num_views", "unlike")
    served = {name: entry[name] for name in names}
    return f"{entry['network_sha256'][:16]}@{files.sha256_of_json(files.as_json(served))[:16]}"


def images(data: Packed, image_ids: Iterable[str] | None = None) -> dict[str, str]:
    """Digest of the pixels of each image, by image_id; the same at whichever sizes the cohort is packed.

    Args:
        data: Packed cohort.
        image_ids: Images of the cohort, by default those of its test set; repeated ids count once.
    """
    if image_ids is None:
        image_ids = data.index.loc[data.index["split"] == schema.TEST, "image_id"]
    rows = data.index[data.index["image_id"].isin(set(image_ids))]
    return dict(zip(rows["image_id"], rows["picture_digest"], strict=True))


def test_digest(data: Packed) -> str:
    """Identity of a cohort's test set: its image ids."""
    return looks.digest_of_images(data.index.loc[data.index["split"] == schema.TEST, "image_id"])


def record(name: str, data: Packed, model: str, entry: dict[str, Any], *, purpose: str) -> dict[str, Any]:
    """Record that a model was scored on the test set.

    Args:
        name: Name of the registered model.
        data: Packed cohort.
        model: `baseline` or `tuned`.
        entry: Its entry of `models.json`.
        purpose: `evaluate`, `audit` or `promote`.

    Returns:
        The looks at images of this test set so far, with this one, see `looks.Looks`.
    """
    seen = images(data)
    looks.record(
        name,
        images=seen,
        model=model,
        model_digest=model_digest(entry),
        purpose=purpose,
        run_id=entry["run_id"],
    )
    return dict(vars(looks.earlier(seen).count()))
