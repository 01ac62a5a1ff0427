"""What the script `segment` does: boxes by masks, the U-Net with its run, boxes by it, the report."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import files, fingerprint, lineage, schema, tracking
from melanoma.config import Params
from melanoma.data import crops, lesions
from melanoma.evaluation import bootstrap, overlap
from melanoma.serving.segmenter import Segmenter
from melanoma.stages import experiments

PROBLEM_TAG = "segmentation_problem"
NETWORK = "model.onnx"


@dataclass(frozen=True)
class Stage:
    """A cohort with its masks.

    Attributes:
        cohort: Its name.
        params: All parameters.
        assigned: Columns `schema.SPLIT_COLUMNS`.
        pairs: Pictures and masks of its images.
        is_synthetic: Whether any image is drawn by a program.
    """

    cohort: str
    params: Params
    assigned: pd.DataFrame
    pairs: lesions.Pairs
    is_synthetic: bool

    def part(self, split: str) -> lesions.Pairs:
        """The images of a split that have a usable mask."""
        split_of = self.assigned.set_index("image_id")["split"]
        mine = schema.align(split_of, self.pairs.image_ids, what="The sides of images") == split
        return self.pairs.take(mine.to_numpy() & self.pairs.has_mask)


def open_stage(cohort: str, params: Params, assigned: pd.DataFrame, records: pd.DataFrame) -> Stage:
    """Read every image and its mask."""
    pairs = lesions.read_pairs(assigned, records, size=params.segment.image_size, execution=params.execution)
    synthetic = records.loc[records["image_id"].isin(assigned["image_id"]), "is_synthetic"]
    return Stage(cohort, params, assigned, pairs, bool(synthetic.fillna(True).any()))


def by_masks(stage: Stage) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The boxes around masks, and what the report says of them."""
    boxes = _boxes(stage, stage.pairs.lesions, stage.pairs.problems).assign(crop=crops.MASK)
    boxes["segmenter_sha256"] = pd.Series(pd.NA, index=boxes.index, dtype="string")
    report = {
        "cohort": stage.cohort,
        "is_synthetic": stage.is_synthetic,
        "is_trained": False,
        "image_size": stage.params.segment.image_size,
        "num_images": len(boxes),
        "num_without_box_by_mask": int(boxes["problem"].notna().sum()),
        "problems": {str(name): int(num) for name, num in boxes["problem"].value_counts().items()},
    }
    return boxes[list(lesions.BOX_COLUMNS)], report


def by_network(
    stage: Stage, folder: Path, boxes: pd.DataFrame, report: dict[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train the U-Net into `folder`; boxes and report with its own."""
    trained = _train(stage, folder)
    segmenter = Segmenter(folder / NETWORK)
    found = np.stack([segmenter.find_lesion(picture) for picture in stage.pairs.images])
    digest = fingerprint.sha256_of_file(folder / NETWORK)
    own = _boxes(stage, found, [None] * len(found)).assign(crop=crops.UNET, segmenter_sha256=digest)
    scores = lesions.overlap(found, stage.pairs.lesions)
    scores[~stage.pairs.has_mask] = np.nan
    # Both have the order of the pairs: `found` was made from them one by one, and `_boxes` from `found`.
    scores = scores.assign(image_id=own["image_id"], is_found=own["problem"].isna())
    judged = stage.assigned.merge(scores, on="image_id", validate="one_to_one")
    settings = stage.params.segment
    report |= {"is_trained": True, "segmenter": trained | {"sha256": digest}}
    report["splits"] = overlap.summarize(judged, num_draws=settings.num_bootstrap_draws, seed=settings.seed)
    return pd.concat([boxes, own[list(lesions.BOX_COLUMNS)]], ignore_index=True), report


def _boxes(stage: Stage, found: np.ndarray, problems: Any) -> pd.DataFrame:
    return lesions.boxes(
        stage.pairs.image_ids,
        found,
        problems,
        min_lesion_fraction=stage.params.segment.min_lesion_fraction,
    )


def _train(stage: Stage, folder: Path) -> dict[str, Any]:
    """Fit, log and write the U-Net; what the report says of it."""
    from melanoma.segmentation import fit  # TensorFlow takes seconds to import
    from melanoma.training import saving

    params, experiment = stage.params, experiments.experiment(stage.cohort)
    parts = stage.part(schema.TRAIN), stage.part(schema.VALIDATION)
    problem = fit.problem_digest(*parts, params.segment, params.augment)
    checkpoint = Path(params.train.checkpoints) / f"{stage.cohort}-segmenter"
    tags = {
        "cohort": stage.cohort,
        "stage": "segment",
        "is_synthetic": str(stage.is_synthetic).lower(),
        PROBLEM_TAG: problem,
        **lineage.lineage_tags(),
    }
    with (
        files.exclusive_lock(checkpoint / "lock", f"the U-Net of cohort {stage.cohort}"),
        tracking.open_run(
            experiment=experiment,
            name="segmenter",
            tags=tags,
            params={"segment": params.segment.model_dump(), "augment": params.augment.model_dump()},
            run_id=tracking.find_run(experiment, tag=PROBLEM_TAG, value=problem),
        ) as run,
    ):
        logged = run.logged_steps("loss")  # by an equal training before
        fitted = fit.train(
            *parts,
            params.segment,
            params.augment,
            checkpoint=checkpoint / "state.npz",
            on_epoch=lambda epoch, row: None if epoch in logged else run.log_epoch(epoch, row),
        )
        run.log_missing_epochs(fitted.history)
        saving.save_model(fitted.model, folder)
        files.write_csv(fitted.history, folder / "history.csv")
        run.log_file(folder / "history.csv")
        best = fit.best_epoch(fitted.history)
        run.log_metrics({"best_epoch": best["epoch"], "best_val_dice": best[fit.BEST]})
    shutil.rmtree(checkpoint, ignore_errors=True)
    return {
        "run_id": run.run_id,
        "num_parameters": int(fitted.model.count_params()),
        "num_training_masks": len(parts[0]),
        "num_epochs": len(fitted.history),
        "best_epoch": int(best["epoch"]),
    }


def headline(report: dict[str, Any]) -> str:
    """One line for the terminal."""
    num_boxes = report["num_images"] - report["num_without_box_by_mask"]
    text = f"{num_boxes} of {report['num_images']} images have a box by their mask"
    if not report["is_trained"]:
        return f"{text}; no U-Net was trained (segment.train)"
    test = report["splits"][schema.TEST]
    dice, num_missed = bootstrap.in_words(test["dice"]), test["num_nothing_found"]
    return f"{text}; U-Net on test: Dice {dice}, nothing found in {num_missed}"
