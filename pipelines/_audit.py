"""What the script `audit` does: opens images with masks, scores the references, draws and logs."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma import schema, tracking
from melanoma.config import Params
from melanoma.data import masks, tables
from melanoma.data.packed import Packed
from melanoma.errors import DataError, ImageError
from melanoma.evaluation import audit, references, sheets
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.sections import Audit
from melanoma.serving.network import Network

NUM_SHOWN = 2  # images of each variant


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
    return data.index[list(schema.SPLIT_COLUMNS)].assign(
        colour=references.score_colours(data.images, data.index, settings),
        file_facts=references.score_file_facts(described, data.index, settings),
    )


def open_audited(
    args: argparse.Namespace, models: dict[str, Any], data: Packed, described: pd.DataFrame
) -> audit.Audited:
    """The test images, their masks and the selected network.

    Raises:
        DataError: A mask cannot be read.
    """
    selected = models["selected"]
    part = data.part(schema.TEST)
    return audit.Audited(
        rows=data.index.iloc[part.rows].reset_index(drop=True),
        images=part.take(slice(None)),
        masks=_masks(described["mask_path"].iloc[part.rows], data.images.shape[1]),
        score=Network(Path(getattr(args, selected)) / "model.onnx").score,
        point=OperatingPoint.from_dict(models[selected]["operating_point"]),
    )


def _masks(paths: pd.Series, size: int) -> dict[int, np.ndarray]:
    """By position; images whose record names none are left out."""
    named = {position: Path(path) for position, path in enumerate(paths) if pd.notna(path)}
    try:
        return {position: masks.load_lesion(path, size) for position, path in named.items()}
    except ImageError as error:
        raise DataError(
            f"A mask cannot be read: {error}. Run `dvc repro`, or fetch the dataset again."
        ) from error


def measure(audited: audit.Audited, scored: pd.DataFrame, settings: Audit) -> dict[str, Any]:
    """What `audit.json` holds besides its head."""
    measured = audit.measure(audited, settings)
    is_test = (scored["split"] == schema.TEST).to_numpy()
    of_test = {name: scored[name].to_numpy()[is_test] for name in schema.REFERENCE_NAMES}
    compared = audit.compare(audited.rows, audited.probability(audited.images), of_test, settings)
    return {
        "num_masks": len(audited.masks),
        "variants": measured,
        "references": compared,
        "warnings": audit.warnings(measured, compared),
    }


def pictures(
    audited: audit.Audited, found: dict[str, Any], settings: Audit, *, cohort: str, data: Packed
) -> dict[str, Figure]:
    """The AUCs, and the first images of each variant, by file name."""
    note = f"cohort {cohort}, test split" + (", SYNTHETIC images" if data.is_synthetic else "")
    shown, captions = list(audited.images[:NUM_SHOWN]), [audit.PLAIN] * len(audited.images[:NUM_SHOWN])
    for name, _, changed in audit.variants(audited, settings):
        shown += list(changed[:NUM_SHOWN])
        captions += [name] * len(changed[:NUM_SHOWN])
    return {
        "audit.png": audit.figure(
            found["variants"], found["references"], title="What the network goes by", note=note
        ),
        "variants.png": sheets.image_sheet(
            np.array(shown), captions, title="What the network was asked", note=note
        ),
    }


def log(run: tracking.Run, found: dict[str, Any], figures: dict[str, Figure]) -> None:
    """Add what was found to the run of the model."""
    aucs = {name: entry["auc_roc"] for name, entry in found["variants"].items()}
    aucs |= {name: entry["auc_roc"] for name, entry in found["references"].items()}
    run.log_metrics({f"audit_{name}_auc_roc": auc["value"] for name, auc in aucs.items()})
    run.set_tags({"audit_warnings": "; ".join(found["warnings"])})
    for name, figure in figures.items():
        run.log_figure(figure, name)
