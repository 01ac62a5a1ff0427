"""What the scripts `tune` and `train` share: how a run is named, tagged and fed."""

import os
import tempfile
from pathlib import Path
from typing import Any

from melanoma import files, lineage, schema, tracking
from melanoma.config import Params
from melanoma.config.training import Hyperparameters, Tune
from melanoma.data import crops
from melanoma.data.packed import Packed
from melanoma.training import studies
from melanoma.training.recipe import Arrays, Recipe, code_digest

# Every run of a network has this file: MLflow's page that compares runs breaks where one has no file.
HISTORY, NO_EPOCH = "history.csv", "epoch\n"
# Of params: train. Trials have a seed of their own, from tune.seed.
NOT_OF_A_TRIAL = {"seed", "num_epochs", "num_seeds", "input", "num_loader_threads", "checkpoints"}


def experiment(cohort: str) -> str:
    """The MLflow experiment of a cohort."""
    return f"melanoma-{cohort}"


def data_note(cohort: str, data: Packed) -> str:
    """Says under a figure whether its data are real."""
    return f"cohort {cohort}: SYNTHETIC images" if data.is_synthetic else f"cohort {cohort}"


def run_tags(cohort: str, data: Packed) -> dict[str, str]:
    """Cohort, protocol, data digest, whether data are synthetic, git commit and DVC hashes."""
    return {
        "cohort": cohort,
        "protocol": schema.LEAK_FREE,  # stages of the study that have another one put it in its place
        "data_digest": data.digest,
        "is_synthetic": str(data.is_synthetic).lower(),
        "crop": crops.kind_of(data.crop),
        **lineage.lineage_tags(),
    }


def arrays(data: Packed) -> Arrays:
    """Training and validation part of a packed cohort, nothing is read yet; the test part stays out."""
    return Arrays(data.part(schema.TRAIN), data.part(schema.VALIDATION))


def log_training_groups(data: Packed, run: tracking.Run) -> None:
    """Which groups the run trained on, with their images, as `data/training_groups.json`."""
    rows = data.index[data.index["split"] == schema.TRAIN]
    groups = {str(name): sorted(ids) for name, ids in rows.groupby("group_id", sort=True)["image_id"]}
    with tempfile.TemporaryDirectory(prefix="groups-") as folder:
        path = Path(folder) / "training_groups.json"
        files.write_json(groups, path)
        run.log_file(path, "data")
    run.log_metrics({"num_training_groups": len(groups)})


def recipe(params: Params, hyperparameters: Hyperparameters) -> Recipe:
    """How every network of `params` is fitted, with these hyperparameters."""
    return Recipe(hyperparameters, params.model, params.augment, params.train)


def describe_problem(params: Params, data: Packed) -> dict[str, Any]:
    """All that makes two trainings comparable, besides their hyperparameters."""
    return {
        "data_digest": data.digest,
        "model": params.model.model_dump(),
        "augment": params.augment.model_dump(),
        "train": params.train.model_dump(exclude={"num_epochs"}),
    }


def describe_trial(params: Params, data: Packed) -> dict[str, Any]:
    """What the runs of trials say beside their hyperparameters, under the names of trained networks."""
    described = describe_problem(params, data)
    of_trials = {"seed": studies.trial_seed(params.tune), "num_epochs": params.tune.num_epochs}
    return described | {"train": described["train"] | of_trials}


def study_lock(tune: Tune, name: str) -> Path:
    """What keeps two searches of this machine from one study; it lies beside a journal."""
    folder = Path(tempfile.gettempdir()) if "://" in tune.storage else Path(tune.storage).parent
    return folder / f"{name}.lock"


def describe_search(params: Params, data: Packed) -> dict[str, Any]:
    """All that makes two trials comparable, besides their hyperparameters: the problem of a study.

    How long, how often and on what the final networks are trained is not part of it.
    """
    problem = describe_problem(params, data)
    problem["train"] = {key: value for key, value in problem["train"].items() if key not in NOT_OF_A_TRIAL}
    return problem | {
        "baseline": params.baseline.model_dump(),
        "tune": params.tune.model_dump(exclude=studies.NOT_OF_THE_PROBLEM),
        "code_digest": code_digest(),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
    }
