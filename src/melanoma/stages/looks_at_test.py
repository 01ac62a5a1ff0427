"""Looks at a test split, entered in the ledger by the scripts that take them."""

from typing import Any

from melanoma import files, schema
from melanoma.data.packed import Packed
from melanoma.registry import ledger


def model_digest(entry: dict[str, Any]) -> str:
    """The same for the same network, operating point, limits, crop and code; of an entry of `models.json`."""
    served = {name: entry[name] for name in ("operating_point", "limits", "code_sha256", "crop")}
    return f"{entry['network_sha256'][:16]}@{files.sha256_of_json(served)[:16]}"


def test_digest(data: Packed) -> str:
    """Of the test images of a cohort."""
    return ledger.test_digest(data.index.loc[data.index["split"] == schema.TEST, "image_id"])


def record(name: str, data: Packed, entry: dict[str, Any], *, purpose: str) -> dict[str, int]:
    """Enter that a model was scored on the test images; how often that has been done with them.

    Args:
        name: Of the registered model.
        data: The cohort.
        entry: Of `models.json`.
        purpose: `evaluate`, `audit` or `promote`.
    """
    digest = test_digest(data)
    ledger.record_look(
        name, test_digest=digest, model_digest=model_digest(entry), purpose=purpose, run_id=entry["run_id"]
    )
    return dict(vars(ledger.count_looks(digest)))
