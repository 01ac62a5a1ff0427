"""Rows that tests invent: records and facts of images that would pass every check, but for what is asked."""

import pandas as pd

from melanoma.config import Validate
from melanoma.data.facts import FACT_DTYPES
from melanoma.schema import conform_records

LIMITS = Validate(
    min_image_side=150,
    min_sharpness=2.0,
    min_brightness=0.25,
    max_brightness=0.75,
    min_contrast=0.125,
    min_age_years=0,
    max_age_years=120,
    licences=["CC-0", "CC-BY"],
    min_images=4,
    min_malignant_fraction=0.25,
    max_malignant_fraction=0.75,
    max_quarantined_fraction=0.2,
)


def record(image_id: str, **changes: object) -> dict[str, object]:
    """A record that passes every check, but for `changes`."""
    return {
        "image_id": image_id,
        "dataset": "toy",
        "diagnosis": "nevus",
        "target": 0,
        "lesion_id": f"lesion-{image_id}",
        "patient_id": f"patient-{image_id}",
        "age_years": 50.0,
        "licence": "CC-0",
        "is_synthetic": True,
        "path": f"images/{image_id}.png",
    } | changes


def fact(image_id: str, **changes: object) -> dict[str, object]:
    """Facts that pass every check, but for `changes`."""
    return {
        "image_id": image_id,
        "decodes": True,
        "format": "PNG",
        "mode": "RGB",
        "width": 200,
        "height": 200,
        "num_bytes": 1000,
        "sha256": f"bytes-{image_id}",
        "pixels_sha256": f"pixels-{image_id}",
        "sharpness": 50.0,
        "brightness": 0.5,
        "contrast": 0.25,
    } | changes


def records_of(*rows: dict[str, object]) -> pd.DataFrame:
    """Records in the common schema."""
    return conform_records(pd.DataFrame(list(rows)))


def facts_of(*rows: dict[str, object]) -> pd.DataFrame:
    """Facts with their types."""
    return pd.DataFrame(list(rows)).reindex(columns=list(FACT_DTYPES)).astype(FACT_DTYPES)
