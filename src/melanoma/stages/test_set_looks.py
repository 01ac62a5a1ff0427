"""Looks at a test set: every stage that scores a model on test images records it in the ledger."""

from typing import Any

from melanoma import files, schema
from melanoma.data.packed import Packed
from melanoma.registry import looks


def model_digest(entry: dict[str, Any]) -> str:
    """Identity of a model: its network, operating point, limits, crop and code.

    Args:
        entry: Entry of `models.json`, before it is written (nan) or as it is read (None).
    """
    served = {name: entry[name] for name in ("operating_point", "limits", "code_sha256", "crop")}
    return f"{entry['network_sha256'][:16]}@{files.sha256_of_json(files.as_json(served))[:16]}"


def image_ids(data: Packed) -> list[str]:
    """The images of a cohort's test set."""
    return list(data.index.loc[data.index["split"] == schema.TEST, "image_id"])


def test_digest(data: Packed) -> str:
    """Identity of a cohort's test set: its image ids."""
    return looks.digest_of_images(image_ids(data))


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
    ids = image_ids(data)
    looks.record(
        name,
        image_ids=ids,
        model=model,
        model_digest=model_digest(entry),
        purpose=purpose,
        run_id=entry["run_id"],
    )
    return dict(vars(looks.earlier(ids).count()))
