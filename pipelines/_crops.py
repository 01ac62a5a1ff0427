"""What the script `crops` does: packs the cohort in each way, trains, compares, draws."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import files, schema, tracking
from melanoma.config import Params
from melanoma.data import crops, lesions, packed
from melanoma.data.packed import Packed
from melanoma.evaluation import crop_results
from melanoma.evaluation.metrics import compute_metrics
from melanoma.evaluation.repeats import PAPER_THRESHOLD, Draws
from melanoma.training import scores
from melanoma.training.fit import Trained
from melanoma.training.recipe import Recipe
from pipelines import _resumable, _study_runs, _training


@dataclass(frozen=True)
class Arm:
    """One network to train."""

    crop: str
    seed: int

    @property
    def name(self) -> str:
        """For people."""
        return f"crop {self.crop} seed {self.seed}"


@dataclass(frozen=True)
class Stage:
    """The crops of a cohort.

    Attributes:
        cohort: Its name.
        params: All parameters.
        data: The cohort, packed in each way.
    """

    cohort: str
    params: Params
    data: dict[str, Packed]

    @property
    def checkpoints(self) -> Path:
        """Where networks are kept until the stage is over."""
        return Path(self.params.train.checkpoints) / f"crops-{self.cohort}"

    @property
    def seeds(self) -> list[int]:
        """Of the networks of each crop."""
        settings = self.params.crops
        return list(range(settings.seed, settings.seed + settings.num_seeds))

    def arms(self) -> Iterator[Arm]:
        """All networks; those of the first seed first, so that an unfinished comparison shows each crop."""
        return (Arm(crop, seed) for seed in self.seeds for crop in self.data)

    def job(self, arm: Arm, parent_id: str) -> _resumable.Job:
        """The training of one network."""
        params, settings, data = self.params, self.params.crops, self.data[arm.crop]
        train = params.train.model_copy(update={"patience": settings.patience})
        described = {
            **params.baseline.model_dump(),
            "crop": arm.crop,
            "crop_margin_fraction": params.pack.crop_margin_fraction,
            "data_digest": data.digest,
            "model": params.model.model_dump(),
            "augment": params.augment.model_dump(),
            "train": train.model_dump() | {"seed": arm.seed, "num_epochs": settings.num_epochs},
        }
        return _resumable.Job(
            name=f"{arm.crop}-seed{arm.seed}",
            run_name=f"{self.cohort} {arm.name}",
            experiment=_study_runs.EXPERIMENT,
            arrays=_training.arrays(data),
            recipe=Recipe(params.baseline, params.model, params.augment, train),
            num_epochs=settings.num_epochs,
            seed=arm.seed,
            tags=_training.run_tags(self.cohort, data)
            | {"stage": "crops", "protocol": "leak_free", "model": "baseline", "seed": str(arm.seed)},
            described=described,
            parent_id=parent_id,
        )

    def score(self, arm: Arm, result: Trained) -> pd.DataFrame:
        """What the network says of every test image."""
        data = self.data[arm.crop]
        part = data.part(schema.TEST)
        rows = data.index.iloc[part.rows][["image_id", "group_id", "target"]]
        return rows.assign(
            crop=arm.crop, seed=arm.seed, probability=scores.predict(result.model, part)
        ).reset_index(drop=True)


def pack(
    args: argparse.Namespace, params: Params, assigned: pd.DataFrame, records: pd.DataFrame, folder: Path
) -> dict[str, Packed]:
    """The cohort in each way of `crops.kinds`, below `folder`; without `unet` where no U-Net is trained."""
    made: dict[str, Packed] = {}
    for kind in params.crops.kinds:
        if kind == crops.UNET and not params.segment.train:
            continue
        cutting = lesions.read_cutting(
            args.boxes,
            kind,
            margin_fraction=params.pack.crop_margin_fraction,
            min_lesion_fraction=params.segment.min_lesion_fraction,
        )
        packed.pack(
            assigned,
            records,
            folder / kind,
            size=params.pack.image_size,
            execution=params.execution,
            cutting=cutting,
        )
        made[kind] = packed.open_packed(folder / kind)
    return made


def run_row(arm: Arm, result: Trained, run: tracking.Run) -> dict[str, Any]:
    """Which run trained the network, how long, and which epoch was kept."""
    return {
        "crop": arm.crop,
        "seed": arm.seed,
        "run_id": run.run_id,
        "num_epochs": len(result.history),
        "best_epoch": int(result.best_epoch["epoch"]),
        "train_seconds": float(result.history["duration_seconds"].sum()),
    }


def log_test(scored: pd.DataFrame, run: tracking.Run) -> str:
    """Log the network's metrics on test; one line of them."""
    once = np.ones((1, len(scored)))
    found = compute_metrics(
        scored["target"].to_numpy(), scored["probability"].to_numpy(), threshold=PAPER_THRESHOLD, weights=once
    )
    run.log_metrics({f"test_{name}": float(values[0]) for name, values in found.items()})
    return f"test AUC {found['auc_roc'][0]:.3f}"


def summarize(
    stage: Stage, predictions: pd.DataFrame, runs: list[dict[str, Any]], segmentation: dict[str, Any]
) -> dict[str, Any]:
    """What the results file of the cohort holds."""
    settings, params = stage.params.crops, stage.params
    compared = crop_results.compare(predictions, Draws(settings.num_bootstrap_draws, settings.seed))
    for crop, entry in compared.items():
        entry["data_digest"] = stage.data[crop].digest
        entry["runs"] = [run for run in runs if run["crop"] == crop]
    tested = predictions.drop_duplicates("image_id")
    return {
        "cohort": stage.cohort,
        "is_synthetic": any(data.is_synthetic for data in stage.data.values()),
        "git_commit": tracking.lineage_tags()["git_commit"],
        "protocol": "leak_free",
        "seeds": stage.seeds,
        "max_num_epochs": settings.num_epochs,
        "patience": settings.patience,
        "threshold": PAPER_THRESHOLD,
        "crop_margin_fraction": params.pack.crop_margin_fraction,
        "num_test_images": len(tested),
        "num_test_malignant": int(tested["target"].sum()),
        "num_whole_by_mask": segmentation["num_without_box_by_mask"],
        "not_compared": sorted(set(settings.kinds) - set(compared)),
        "crops": compared,
        "in_words": [
            crop_results.in_a_sentence(crop, entry)
            for crop, entry in compared.items()
            if "minus_none" in entry
        ],
    }


def draw(results: dict[str, Any], segmentation: dict[str, Any], out: Path) -> None:
    """Write tables, figure and their captions to the folder `out`."""
    kind = ", SYNTHETIC images" if results["is_synthetic"] else ""
    note = f"cohort {results['cohort']}, {results['num_test_images']} test images{kind}"
    seeds = f"{len(results['seeds'])} networks each"
    captions = {
        "crops.csv": {
            "caption": f"The baseline on whole pictures and on lesions cut out ({note}, {seeds}, leak-free "
            "splits), with 95 % intervals over groups and networks. Crops by a person's mask are an upper "
            "bound: at the clinic nobody draws one."
        },
        "crops.png": {
            "caption": f"AUC by what the network sees, and the paired difference to whole pictures ({note}).",
            "alt": "Intervals of the AUC of each crop. " + ". ".join(results["in_words"]) + ".",
        },
    }
    with files.atomic_folder(out) as folder:
        files.write_csv(crop_results.table(results["crops"]), folder / "crops.csv")
        figure = crop_results.figure(results["crops"], note=note)
        figure.savefig(folder / "crops.png", dpi=90)
        if segmentation["is_trained"]:
            table = crop_results.overlap_table(segmentation["splits"])
            files.write_csv(table, folder / "segmentation.csv")
            captions["segmentation.csv"] = {
                "caption": f"How well the U-Net's lesions cover the drawn ones (cohort "
                f"{results['cohort']}{kind}, at {segmentation['image_size']} pixels): means over images with "
                "a mask, 95 % intervals over groups. It learnt from the training split."
            }
        files.write_json(captions, folder / "captions.json")
