"""Rows that tests invent: records and facts of images that would pass every check, but for what is asked."""

from typing import Any

import pandas as pd

from melanoma.config.data import ImageChecks, TableChecks, Validate
from melanoma.data.checks.facts import FACT_DTYPES
from melanoma.schema import conform_records

CRITICAL = ("image_id_known", "image_id_unique", "one_image_a_file", "origin_known")
# Arguments of `readers.read_records`: melanoma is positive, and so is what is only called malignant.
TARGET_RULE: dict[str, Any] = {"positive": ["melanoma"], "malignant_without_diagnosis": "positive"}
WARN = ("hairy", "mask_broken", "mask_of_other_geometry", "lesion_tiny", "image_type_not_stated")


def limits(*, severities: dict[str, str] | None = None, **changes: object) -> Validate:
    """Limits whose fractions are exact in binary; `severities` by check replace the usual ones."""
    image_checks = (
        dict.fromkeys(ImageChecks.model_fields, "quarantine")
        | dict.fromkeys(CRITICAL, "critical")
        | dict.fromkeys(WARN, "warn")
    )
    table_checks = dict.fromkeys(TableChecks.model_fields, "critical")
    for name, severity in (severities or {}).items():
        (image_checks if name in image_checks else table_checks)[name] = severity
    content: dict[str, object] = {
        "min_image_side": 150,
        "modes": ["RGB", "L"],
        "max_bit_depth": 8,
        "min_sharpness": 2.0,
        "min_brightness": 0.25,
        "max_brightness": 0.75,
        "min_contrast": 0.125,
        "min_saturation": 0.0625,
        "max_clipped_fraction": 0.5,
        "max_dark_border_fraction": 0.5,
        "max_hair_fraction": 0.25,
        "min_lesion_fraction": 0.0625,
        "min_age_years": 0,
        "max_age_years": 120,
        "licences": ["CC-0", "CC-BY"],
        "min_images": 4,
        "min_malignant_fraction": 0.25,
        "max_malignant_fraction": 0.75,
        "max_quarantined_fraction": 0.2,
        "excluded_ids": [],
        "image_checks": image_checks,
        "table_checks": table_checks,
    }
    return Validate.model_validate(content | changes)


LIMITS = limits()


def record(image_id: str, **changes: object) -> dict[str, object]:
    """A record that passes every check, but for `changes`."""
    return {
        "image_id": image_id,
        "dataset": "toy",
        "diagnosis": "nevus",
        "malignancy": "benign",
        "target": 0,
        "lesion_id": f"lesion-{image_id}",
        "patient_id": f"patient-{image_id}",
        "age_years": 50.0,
        "sex": "female",
        "anatom_site": "torso",
        "image_type": "dermoscopic",
        "source_collection": "clinic",
        "licence": "CC-0",
        "attribution": "A clinic",
        "is_synthetic": True,
        "path": f"images/{image_id}.png",
        "mask_path": f"masks/{image_id}.png",
    } | changes


def fact(image_id: str, **changes: object) -> dict[str, object]:
    """Facts that pass every check, but for `changes`."""
    return {
        "image_id": image_id,
        "decodes": True,
        "is_truncated": False,
        "format": "PNG",
        "extension_fits": True,
        "exif_orientation": 1,
        "mode": "RGB",
        "bit_depth": 8,
        "num_frames": 1,
        "width": 200,
        "height": 200,
        "num_bytes": 1000,
        "sha256": f"bytes-{image_id}",
        "pixels_sha256": f"pixels-{image_id}",
        "sharpness": 50.0,
        "brightness": 0.5,
        "contrast": 0.25,
        "saturation": 0.25,
        "clipped_fraction": 0.0,
        "dark_border_fraction": 0.125,
        "hair_fraction": 0.0,
        "ink_fraction": 0.0,
        "mask_decodes": True,
        "mask_fits": True,
        "lesion_fraction": 0.25,
    } | changes


def records_of(*rows: dict[str, object]) -> pd.DataFrame:
    """Records in the common schema."""
    return conform_records(pd.DataFrame(list(rows)))


def facts_of(*rows: dict[str, object]) -> pd.DataFrame:
    """Facts with their types."""
    return pd.DataFrame(list(rows)).reindex(columns=list(FACT_DTYPES)).astype(FACT_DTYPES)
