"""Stage `audit`: change the test images, score references without the lesion's form, compare and log."""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma import files, metric_names, schema, tracking
from melanoma.config import Params
from melanoma.config.evaluation import Audit
from melanoma.data import crops, lesions, masks, packed, tables
from melanoma.errors import ImageError
from melanoma.evaluation import audit, bootstrap, references, sheets, unlike_sets
from melanoma.evaluation.figures import test_set_note
from melanoma.registry import versions
from melanoma.scoring.operating_point import OperatingPoint
from melanoma.scoring.unlike import Unlike
from melanoma.serving.network import Network
from melanoma.serving.settings import require_untouched
from melanoma.stages import test_set_looks

NUM_SHOWN = 2  # images, each in all variants


def run(args: argparse.Namespace, params: Params) -> str:
    """Write and log all findings; return a summary line.

    Args:
        args: Command line of `pipelines.audit`.
        params: Content of params.yaml.
    """
    data, models = packed.open_packed(args.packed), files.read_json(args.models)
    described = tables.describe_images(
        data.index,
        accepted=args.accepted,
        facts=args.facts,
        datasets=params.members(args.cohort),
        fact_columns=[*references.NUMBERS, *references.WORDS, references.SIZE],
    )
    scored = _score_references(data, described, params.audit, image_size=params.baseline.image_size)
    audited = _open_audited(args, models, data, described)
    served = _served(tables.read_predictions(args.predictions, data.index), models["selected"])
    found = _measure(audited, scored, served, params.audit) | {"unlike": _refer(args, models, audited)}
    note = test_set_note(args.cohort, is_synthetic=data.is_synthetic, positive_means=data.positive_means)
    figures = _draw(audited, found, params.audit, note=note)
    selected = models["selected"]
    entry = models[selected]
    run = tracking.resume_run(entry["run_id"])  # fails before anything is written, including the ledger
    test_set_looks.record(versions.model_name(args.cohort), data, selected, entry, purpose="audit")
    with files.atomic_folder(args.figures) as folder:
        for name, figure in figures.items():
            figure.savefig(folder / name, dpi=110)
    files.write_csv(scored, args.references)
    aucs = [{"images": name, "auc_roc": auc["value"]} for name, auc in audit.auc_by_images(found).items()]
    files.write_csv(pd.DataFrame(aucs), args.plots / "audit.csv")
    head = {"cohort": args.cohort, "is_synthetic": data.is_synthetic, "selected": models["selected"]}
    head["positive_means"] = data.positive_means
    files.write_json(head | found, args.out)
    _log(run, args, found)
    plain = bootstrap.in_words(found["variants"][audit.PLAIN]["auc_roc"])
    colour = bootstrap.in_words(found["references"]["colour"]["auc_roc"])
    return f"AUC {plain}, from colours alone {colour}; {len(found['warnings'])} warnings -> {args.out}"


def _score_references(
    data: packed.Packed, described: pd.DataFrame, settings: Audit, *, image_size: int
) -> pd.DataFrame:
    """The index with a column of probabilities for each of `schema.REFERENCE_NAMES`.

    Colours are counted in images of `image_size`, whichever network they are compared with.
    """
    scored = {
        "colour": references.score_colours(data.of_size(image_size), settings),
        "file_facts": references.score_file_facts(described, data.index, settings),
        "lesion_size": references.score_lesion_size(described, data.index, settings),
    }
    rows = data.index[list(schema.SPLIT_COLUMNS)]
    return rows.merge(pd.DataFrame(scored), left_on="image_id", right_index=True, validate="one_to_one")


def _open_audited(
    args: argparse.Namespace, models: dict[str, Any], data: packed.Packed, described: pd.DataFrame
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
    path, entry = Path(getattr(args, selected)) / "model.onnx", models[selected]
    network = Network(path)  # one view, see `evaluation.audit`
    data = data.of_size(network.image_size)
    part = data.part(schema.TEST)
    return audit.Audited(
        rows=data.rows_of(part),
        images=part.take(slice(None)),
        masks=_masks(described[described["image_id"].isin(part.image_ids)], data.image_size, cutting),
        score=network.score,
        point=OperatingPoint.from_dict(entry["operating_point"]),
    )


def _masks(described: pd.DataFrame, size: int, cutting: crops.Cutting | None) -> dict[str, np.ndarray]:
    """Masks by image_id, cropped like the images; empty masks, which `validate` accepts, are left out."""
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


def _served(predictions: pd.DataFrame, model: str) -> pd.Series:
    """Probabilities of what is served for the test images, with all its views; indexed by image_id."""
    is_asked = (predictions["model"] == model) & (predictions["split"] == schema.TEST)
    return predictions[is_asked].set_index("image_id")["probability"]


def _measure(
    audited: audit.Audited, scored: pd.DataFrame, served: pd.Series, settings: Audit
) -> dict[str, Any]:
    """Content of `audit.json` without its head."""
    measured = audit.measure(audited, settings)
    tested = scored[scored["split"] == schema.TEST].set_index("image_id")
    of_test = {name: tested[name] for name in schema.REFERENCE_NAMES}
    compared = audit.compare(audited.rows, served, of_test)
    found = {
        "num_masks": len(audited.masks),
        "variants": measured,
        "references": compared,
    }
    return found | {"warnings": audit.warnings(found, max_flipped_fraction=settings.max_flipped_fraction)}


def _refer(args: argparse.Namespace, models: dict[str, Any], audited: audit.Audited) -> dict[str, Any] | None:
    """Which pictures are referred as unlike the training images; None if that is off."""
    selected = models["selected"]
    if models[selected]["unlike"] is None:
        return None
    path = args.unlike / f"{selected}.npz"
    require_untouched(path, models[selected]["unlike"]["sha256"], what="description of the training images")
    network = Network(Path(getattr(args, selected)) / "model.onnx")
    images = audited.images[audited.chosen(unlike_sets.NUM_COPIED)]
    return unlike_sets.measure(images, network.features, Unlike.load(path))


def _draw(audited: audit.Audited, found: dict[str, Any], settings: Audit, *, note: str) -> dict[str, Figure]:
    """The AUCs, and a few images in all variants with the network's probabilities, by file name."""
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
        "audit.png": audit.figure(found, title="AUC on changed images and of references", note=note),
        "variants.png": sheets.image_sheet(
            np.array(shown), captions, title="Test images in all variants", note=note
        ),
    }


def _log(run: tracking.Run, args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Add the findings to the model's run: metrics, warnings, and all files under `audit/`."""
    logged: dict[str, float] = {}
    for name, entry in (found["variants"] | found["references"]).items():
        logged[name] = entry["auc_roc"]["value"]
        if "flipped_fraction" in entry:
            logged[f"{name}_flipped_fraction"] = entry["flipped_fraction"]
    run.log_metrics(metric_names.in_section(metric_names.AUDIT, logged))
    run.set_tags({"audit_warnings": "; ".join(found["warnings"])})
    run.log_folder(args.figures, "audit")
    for path in (args.out, args.references):
        run.log_file(path, "audit")
