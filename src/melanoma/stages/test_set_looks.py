"""Looks at a test set: every stage that scores a model on test images records it in the ledger."""

from typing import Any

from melanoma import files, schema
from melanoma.data.packed import Packed
from melanoma.registry import ledger


def model_digest(entry: dict[str, Any]) -> str:
    """Identity of a model: its network, operating point, limits, crop and code.

    Args:
        entry: Entry of `models.json`.
    """
    served = {name: entry[name] for name in ("operating_point", "limits", "code_sha256", "crop")}
    return f"{entry['network_sha256'][:16]}@{files.sha256_of_json(served)[:16]}"


def test_digest(data: Packed) -> str:
    """Identity of a cohort's test set: its image ids."""
    return ledger.test_digest(data.index.loc[data.index["split"] == schema.TEST, "image_id"])


def record(name: str, data: Packed, model: str, entry: dict[str, Any], *, purpose: str) -> dict[str, int]:
    """Record that a model was scored on the test set.

    Args:
        name: Name of the registered model.
        data: Packed cohort.
        model: `baseline` or `tuned`.
        entry: Its entry of `models.json`.
        purpose: `evaluate`, `audit` or `promote`.

    Returns:
        Number of looks at this test set so far, see `ledger.Looks`.
    """
    digest = test_digest(data)
    ledger.record_look(
        name,
        model=model,
        test_digest=digest,
        model_digest=model_digest(entry),
        purpose=purpose,
        run_id=entry["run_id"],
    )
    return dict(vars(ledger.count_looks(digest)))
