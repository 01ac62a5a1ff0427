"""Body of the stage `segment`: boxes around lesions from masks and, optionally, from a U-Net trained on them.

Boxes serve cropping alone. With `pack.crop: none` and `segment.train: false` nobody reads them, so no image
is decoded and the table of boxes is empty.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import files, fingerprint, lineage, metric_names, schema, tracking
from melanoma.config import Params
from melanoma.data import crops, lesions, tables
from melanoma.evaluation import bootstrap, overlap
from melanoma.serving.segmenter import Segmenter
from melanoma.stages import experiments

PROBLEM_TAG = "segmentation_problem"
NETWORK = "model.onnx"


@dataclass(frozen=True)
class Outputs:
    """Paths that the stage writes: a table of boxes, the folder of the U-Net and a JSON report."""

    boxes: Path
    segmenter: Path
    report: Path


@dataclass(frozen=True)
class SegmenterTraining:
    """The training of the U-Net of a cohort.

    Attributes:
        cohort: Name of the cohort.
        params: All parameters.
        assigned: Columns `schema.SPLIT_COLUMNS`.
        pairs: Pictures and masks of the cohort.
        is_synthetic: Whether any image is drawn by a program.
    """

    cohort: str
    params: Params
    assigned: pd.DataFrame
    pairs: lesions.Pairs
    is_synthetic: bool

    def parts(self) -> tuple[lesions.Pairs, lesions.Pairs]:
        """Training images with a usable mask: those to learn from, and those held out to choose the epoch."""
        assigned = self.assigned.set_index("image_id")
        assigned = schema.align(assigned, self.pairs.image_ids, what="The splits of images")
        is_held = experiments.held_out(assigned, num_folds=1)
        is_train = (assigned["split"] == schema.TRAIN).to_numpy()
        has_mask = self.pairs.has_mask
        return self.pairs.take(is_train & ~is_held & has_mask), self.pairs.take(is_held & has_mask)


def run(cohort: str, params: Params, *, split: Path, accepted: Path, outputs: Outputs) -> str:
    """Write boxes, report and, where it is trained, the U-Net, and return a summary line.

    Args:
        cohort: Name of the cohort.
        params: All parameters.
        split: Table that assigns each image to a split.
        accepted: Folder with a table of accepted records for each dataset.
        outputs: Where to write.
    """
    assigned = tables.read_split(split)
    columns = ["image_id", "path", "sha256", "mask_path", "is_synthetic"]
    records = tables.read_tables(accepted, params.members(cohort), columns)
    synthetic = records.loc[records["image_id"].isin(assigned["image_id"]), "is_synthetic"]
    report: dict[str, Any] = {
        "cohort": cohort,
        "is_synthetic": bool(synthetic.fillna(True).any()),
        "is_trained": params.segment.train,
        "image_size": params.segment.image_size,
        "num_images": len(assigned),
    }
    with files.atomic_folder(outputs.segmenter) as folder:
        if params.segment.train:
            pairs = lesions.read_pairs(
                assigned, records, size=params.segment.image_size, execution=params.execution
            )
            by_mask = lesions.boxes(
                pairs.image_ids,
                pairs.lesions,
                pairs.problems,
                crop=crops.MASK,
                min_lesion_fraction=params.segment.min_lesion_fraction,
            )
            training = SegmenterTraining(cohort, params, assigned, pairs, report["is_synthetic"])
            by_network, trained = train_and_find_boxes(training, folder)
            boxes = pd.concat([by_mask, by_network], ignore_index=True)
            report |= describe_boxes(by_mask) | trained
        elif params.pack.crop == crops.MASK:
            boxes = find_mask_boxes(params, assigned, records)
            report |= describe_boxes(boxes)
        else:
            boxes = lesions.no_boxes()
        files.write_json({"is_trained": params.segment.train}, folder / "segmenter.json")
    files.write_parquet(boxes, outputs.boxes)
    files.write_json(report, outputs.report)
    return summary_line(report)


def find_mask_boxes(params: Params, assigned: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Boxes around the masks of a cohort; columns `lesions.BOX_COLUMNS`."""
    return lesions.mask_boxes(
        assigned,
        records,
        size=params.segment.image_size,
        min_lesion_fraction=params.segment.min_lesion_fraction,
        execution=params.execution,
    )


def describe_boxes(by_mask: pd.DataFrame) -> dict[str, Any]:
    """Entries of the report about boxes around masks."""
    problems = by_mask["problem"]
    return {
        "num_without_box_by_mask": int(problems.notna().sum()),
        "problems": {str(name): int(num) for name, num in problems.value_counts().items()},
    }


def train_and_find_boxes(training: SegmenterTraining, folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train the U-Net into `folder`; the boxes that it finds, and the entries of the report about it."""
    described = _train(training, folder)
    pairs, settings = training.pairs, training.params.segment
    segmenter, digest = Segmenter(folder / NETWORK), fingerprint.sha256_of_file(folder / NETWORK)
    found = np.stack([segmenter.find_lesion(picture) for picture in pairs.images])
    boxes = lesions.boxes(
        pairs.image_ids,
        found,
        [None] * len(found),
        crop=crops.UNET,
        min_lesion_fraction=settings.min_lesion_fraction,
        segmenter_sha256=digest,
    )
    scores = lesions.overlap(found, pairs.lesions)
    scores[~pairs.has_mask] = np.nan
    # Both are in the order of the pairs: `found` was made from them one by one, and `boxes` from `found`.
    scores = scores.assign(image_id=boxes["image_id"], is_found=boxes["problem"].isna())
    scored = training.assigned.merge(scores, on="image_id", validate="one_to_one")
    splits = overlap.summarize(scored, num_draws=settings.num_bootstrap_draws, seed=settings.seed)
    return boxes, {"segmenter": described | {"sha256": digest}, "splits": splits}


def _train(training: SegmenterTraining, folder: Path) -> dict[str, Any]:
    """Fit, log and write the U-Net; entries of the report about its training."""
    from melanoma.segmentation import fit  # TensorFlow takes seconds to import
    from melanoma.training import saving

    params, experiment = training.params, experiments.experiment(training.cohort)
    parts = training.parts()
    problem = fit.problem_digest(*parts, params.segment, params.augment.paper)
    checkpoint = Path(params.train.checkpoints) / f"{training.cohort}-segmenter"
    tags = {
        "cohort": training.cohort,
        "stage": "segment",
        "is_synthetic": str(training.is_synthetic).lower(),
        PROBLEM_TAG: problem,
        **lineage.lineage_tags(),
    }
    with (
        files.exclusive_lock(checkpoint / "lock", f"the U-Net of cohort {training.cohort}"),
        tracking.open_run(
            experiment=experiment,
            name="segmenter",
            tags=tags,
            note=f"U-Net that finds the lesion in an image, trained on the masks of cohort {training.cohort}"
            f"{', SYNTHETIC images' if training.is_synthetic else ''}. Its boxes crop the images.",
            params={"segment": params.segment.model_dump(), "augment": params.augment.paper.model_dump()},
            run_id=tracking.find_run(experiment, tag=PROBLEM_TAG, value=problem),
        ) as run,
    ):
        # Epochs of an earlier training of the same problem.
        logged = run.logged_steps(metric_names.TRAINING_LOSS)
        fitted = fit.train(
            *parts,
            params.segment,
            params.augment.paper,
            checkpoint=checkpoint / "state.npz",
            on_epoch=lambda epoch, row: None if epoch in logged else run.log_epoch(epoch, row),
        )
        run.log_missing_epochs(fitted.history)
        saving.save_segmenter(fitted.model, folder)
        files.write_csv(fitted.history, folder / "history.csv")
        run.log_file(folder / "history.csv")
        best = fit.best_epoch(fitted.history)
        run.log_metrics(metric_names.of_selection({"epoch": best["epoch"], fit.BEST: best[fit.BEST]}))
    shutil.rmtree(checkpoint, ignore_errors=True)
    return {
        "run_id": run.run_id,
        "num_parameters": int(fitted.model.count_params()),
        "num_training_masks": len(parts[0]),
        "num_epochs": len(fitted.history),
        "best_epoch": int(best["epoch"]),
    }


def summary_line(report: dict[str, Any]) -> str:
    """One line for the terminal."""
    if "num_without_box_by_mask" not in report:
        return (
            f"pack.crop is none and segment.train is false, so none of {report['num_images']} images was read"
        )
    num_boxes = report["num_images"] - report["num_without_box_by_mask"]
    text = f"{num_boxes} of {report['num_images']} images have a box from their mask"
    if not report["is_trained"]:
        return f"{text}; no U-Net was trained (segment.train: false)"
    test = report["splits"][schema.TEST]
    dice, num_missed = bootstrap.in_words(test["dice"]), test["num_nothing_found"]
    return f"{text}; U-Net on test: Dice {dice}, no lesion found in {num_missed} images"
