"""What the script `audit` does: opens images with masks, scores the references, draws and logs."""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma import schema, tracking
from melanoma.config import Params
from melanoma.config.evaluation import Audit
from melanoma.data import crops, lesions, masks, tables
from melanoma.data.packed import Packed
from melanoma.errors import ImageError
from melanoma.evaluation import audit, references, sheets
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.serving.network import Network

NUM_SHOWN = 2  # images, in all variants
ENDS = {"": "value", "_low": "low", "_high": "high"}  # of the names of metrics


def describe(args: argparse.Namespace, params: Params, data: Packed) -> pd.DataFrame:
    """Records and facts of all images, in their order."""
    return tables.describe_images(
        data.index,
        accepted=args.accepted,
        facts=args.facts,
        datasets=params.members(args.cohort),
        fact_columns=[*references.NUMBERS, *references.WORDS],
    )


def score_references(data: Packed, described: pd.DataFrame, settings: Audit) -> pd.DataFrame:
    """The index with a column of probabilities for each of `schema.REFERENCE_NAMES`."""
    scored = {
        "colour": references.score_colours(data, settings),
        "file_facts": references.score_file_facts(described, data.index, settings),
    }
    rows = data.index[list(schema.SPLIT_COLUMNS)]
    return rows.merge(pd.DataFrame(scored), left_on="image_id", right_index=True, validate="one_to_one")


def open_audited(
    args: argparse.Namespace, models: dict[str, Any], data: Packed, described: pd.DataFrame
) -> audit.Audited:
    """The test images, their masks and the selected network."""
    cutting = None
    if data.crop is not None:
        cutting = lesions.read_cutting(
            args.boxes,
            data.crop.kind,
            image_ids=data.index["image_id"],
            margin_fraction=data.crop.margin_fraction,
            min_lesion_fraction=data.crop.min_lesion_fraction,
        )
    selected = models["selected"]
    part = data.part(schema.TEST)
    return audit.Audited(
        rows=data.rows_of(part),
        images=part.take(slice(None)),
        masks=_masks(described[described["image_id"].isin(part.image_ids)], data.images.shape[1], cutting),
        score=Network(Path(getattr(args, selected)) / "model.onnx").score,
        point=OperatingPoint.from_dict(models[selected]["operating_point"]),
    )


def _masks(described: pd.DataFrame, size: int, cutting: crops.Cutting | None) -> dict[str, np.ndarray]:
    """By image_id, cut as the images are; those without a lesion are left out: `validate` lets them pass."""
    found = {}
    margin_fraction = 0.0 if cutting is None else cutting.crop.margin_fraction
    for image_id, path in zip(described["image_id"], described["mask_path"], strict=True):
        if pd.isna(path):
            continue
        box = None if cutting is None else cutting.boxes.get(image_id)
        with suppress(ImageError):
            mask = masks.load_lesion(Path(path), size, box=box, margin_fraction=margin_fraction)
            if mask.any():
                found[image_id] = mask
    return found


def measure(audited: audit.Audited, scored: pd.DataFrame, settings: Audit) -> dict[str, Any]:
    """What `audit.json` holds besides its head."""
    measured = audit.measure(audited, settings)
    tested = scored[scored["split"] == schema.TEST].set_index("image_id")
    of_test = {name: tested[name] for name in schema.REFERENCE_NAMES}
    plain = pd.Series(audited.probability(audited.images), index=audited.rows["image_id"])
    compared = audit.compare(audited.rows, plain, of_test, settings)
    found = {
        "num_masks": len(audited.masks),
        "variants": measured,
        "lesion_area": audit.lesion_area(audited, settings),
        "references": compared,
    }
    return found | {"warnings": audit.warnings(found, max_flipped_fraction=settings.max_flipped_fraction)}


def pictures(
    audited: audit.Audited, found: dict[str, Any], settings: Audit, *, cohort: str, data: Packed
) -> dict[str, Figure]:
    """The AUCs, and a few images in each variant with what the network says of them, by file name."""
    note = f"cohort {cohort}, test split" + (", SYNTHETIC images" if data.is_synthetic else "")
    shown, captions = [], []
    for at in sheets.fixed_choice(audited.rows, num=NUM_SHOWN):
        asked = {audit.PLAIN: audited.images[at]}
        changes = audit.variants(audited, settings)
        asked |= {variant.name: variant.change(at) for variant in changes if at in variant.positions}
        shown += list(asked.values())
        probability = audited.probability(np.stack(list(asked.values())))
        image_id = audited.rows["image_id"].iloc[at]
        captions += [
            f"{image_id} {name}: {share:.2f}" for name, share in zip(asked, probability, strict=True)
        ]
    return {
        "audit.png": audit.figure(found, title="What the network goes by", note=note),
        "variants.png": sheets.image_sheet(
            np.array(shown), captions, title="What the network was asked", note=note
        ),
    }


def log(run: tracking.Run, args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Add what was found to the run of the model: metrics, warnings and all files, under `audit/`."""
    logged: dict[str, float] = {}
    for name, entry in (found["variants"] | found["references"]).items():
        logged |= {f"audit_{name}_auc_roc{end}": entry["auc_roc"][key] for end, key in ENDS.items()}
        if "flipped_fraction" in entry:
            logged[f"audit_{name}_flipped_fraction"] = entry["flipped_fraction"]
    run.log_metrics(logged)
    run.set_tags({"audit_warnings": "; ".join(found["warnings"])})
    run.log_folder(args.figures, "audit")
    for path in (args.out, args.references):
        run.log_file(path, "audit")
