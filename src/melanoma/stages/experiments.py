"""MLflow runs of the stages that train networks: their experiment, tags, parameters and files."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import files, lineage, metric_names, schema, tracking, tracking_fields
from melanoma.config import Params
from melanoma.config.training import Hyperparameters
from melanoma.data import crops
from melanoma.data.groups import folds
from melanoma.data.packed import Packed, Part
from melanoma.training.recipe import Arrays, Recipe

# Every run of a network has this file: MLflow's page that compares runs breaks where one has no file.
HISTORY, NO_EPOCH = "history.csv", "epoch\n"
FOLDS_SEED = 0  # not that of a network: all networks and trials of a cohort share their folds


def experiment(cohort: str) -> str:
    """Name of the MLflow experiment of a cohort."""
    return f"melanoma-{cohort}"


def data_note(cohort: str, data: Packed) -> str:
    """Note under figures: the cohort, whether its images are synthetic, and what `positive` means."""
    kind = ": SYNTHETIC images" if data.is_synthetic else ""
    return f"cohort {cohort}{kind}; positive: {data.positive_means}"


def run_tags(cohort: str, data: Packed) -> dict[str, str]:
    """Cohort, protocol, data with their digest, what positive means, git commit and DVC hashes."""
    return {
        "cohort": cohort,
        "protocol": schema.LEAK_FREE,  # the study's stages replace it where they follow another protocol
        "data_digest": data.digest,
        "is_synthetic": str(data.is_synthetic).lower(),
        "positive_means": data.positive_means,
        "crop": crops.kind_of(data.crop),
        **lineage.lineage_tags(),
    }


def datasets(cohort: str, parts: Mapping[str, Part]) -> list[tracking_fields.Dataset]:
    """Parts of a packed cohort, by what they are used for, as MLflow's table of runs shows them.

    The digest begins with that of the packed images at the part's size; its second half is of its image ids.
    """
    return [
        tracking_fields.Dataset(
            name=f"melanoma-{cohort}",
            digest=f"{str(part.images_digest)[:16]}-{files.sha256_of_json(part.image_ids.tolist())[:16]}",
            context=context,
            num_images=len(part),
            num_malignant=int(part.targets.sum()),
        )
        for context, part in parts.items()
    ]


def datasets_of(cohort: str, learned: Arrays) -> list[tracking_fields.Dataset]:
    """The datasets of a training: its training images and, where there are any, its held-out images."""
    return datasets(cohort, learned.parts())


def hyperparameters(model: str, params: Params, tuning: Path) -> Hyperparameters:
    """Those of the `baseline`, or of the `tuned` model: the best of the search that `tuning` summarizes.

    Raises:
        DataError: The file is no such summary.
    """
    if model == "baseline":
        return params.baseline
    content = files.read_json(tuning)
    with files.expect_schema(tuning):
        return Hyperparameters.model_validate(content["best"]["hyperparameters"])


def arrays(data: Packed, *, num_folds: int, fold: int = 0) -> Arrays:
    """The training split of a packed cohort in two parts: training images and hold-out; no pixel is read yet.

    Epochs, trials, seeds and models are chosen on the hold-out. The validation split serves calibration and
    operating point alone: on images that a choice has seen, the threshold would promise too much.

    Args:
        data: Packed cohort.
        num_folds: `params.yaml: train.num_folds`; 1 holds a fifth of the groups out.
        fold: Which fold is held out, below `num_folds`.

    Raises:
        DataError: The training split has too few groups of a class.
    """
    is_held = held_out(data.index, num_folds=num_folds, fold=fold)
    is_train = (data.index["split"] == schema.TRAIN).to_numpy()
    return Arrays(data.at(np.flatnonzero(is_train & ~is_held)), data.at(np.flatnonzero(is_held)))


def all_of_training(data: Packed) -> Arrays:
    """The whole training split, without a hold-out: for networks that keep their last epoch."""
    return Arrays(data.part(schema.TRAIN), None)


def held_out(index: pd.DataFrame, *, num_folds: int, fold: int = 0) -> np.ndarray:
    """Which images of an index, columns `schema.SPLIT_COLUMNS`, are the hold-out of its training split."""
    is_train = (index["split"] == schema.TRAIN).to_numpy()
    held = np.zeros(len(index), dtype=bool)
    held[is_train] = folds.hold_out(
        index["target"].to_numpy()[is_train],
        index["group_id"].to_numpy()[is_train],
        num_folds=num_folds,
        fold=fold,
        seed=FOLDS_SEED,
        what="The training split",
    )
    return held


def folds_of(data: Packed, *, num_folds: int) -> list[Arrays]:
    """`arrays` with each fold held out once."""
    return [arrays(data, num_folds=num_folds, fold=fold) for fold in range(num_folds)]


def log_training_groups(data: Packed, run: tracking.Run) -> None:
    """Log the groups of the training split with their images as `data/training_groups.json`."""
    rows = data.index[data.index["split"] == schema.TRAIN]
    groups = {str(name): sorted(ids) for name, ids in rows.groupby("group_id", sort=True)["image_id"]}
    with tempfile.TemporaryDirectory(prefix="groups-") as folder:
        path = Path(folder) / "training_groups.json"
        files.write_json(groups, path)
        run.log_file(path, "data")
    run.log_metrics(metric_names.in_section(metric_names.DATA, {"num_training_groups": len(groups)}))


def describe_problem(recipe: Recipe, data: Packed) -> dict[str, Any]:
    """Everything that makes two trainings comparable besides hyperparameters and number of epochs."""
    return {
        "data_digest": data.digest,
        "model": recipe.model.model_dump(),
        "augment": recipe.augment.model_dump(),
        "train": recipe.train.model_dump(exclude={"num_epochs"}),
    }
