"""What the scripts `tune` and `train` share: how a run is named, tagged and fed."""

import hashlib
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import melanoma
from melanoma import files, schema, tracking
from melanoma.config import Params
from melanoma.data.packed import Packed
from melanoma.training.fit import Arrays, FitSettings


def experiment(cohort: str) -> str:
    """The MLflow experiment of a cohort."""
    return f"melanoma-{cohort}"


def data_note(cohort: str, data: Packed) -> str:
    """Says under a figure whether its data are real."""
    return f"cohort {cohort}: SYNTHETIC images" if data.is_synthetic else f"cohort {cohort}"


def run_tags(cohort: str, data: Packed) -> dict[str, str]:
    """Cohort, data digest, whether data are synthetic, git commit and DVC hashes."""
    return {
        "cohort": cohort,
        "data_digest": data.digest,
        "is_synthetic": str(data.is_synthetic).lower(),
        **tracking.lineage_tags(),
    }


def arrays(data: Packed) -> Arrays:
    """Training and validation part of a packed cohort, in memory; the test part stays out."""
    return Arrays(*data.take(schema.TRAIN), *data.take(schema.VALIDATION))


def log_training_groups(data: Packed, run: tracking.Run) -> None:
    """Which groups the run trained on, with their images, as `data/training_groups.json`."""
    rows = data.index[data.index["split"] == schema.TRAIN]
    groups = {str(name): sorted(ids) for name, ids in rows.groupby("group_id", sort=True)["image_id"]}
    with tempfile.TemporaryDirectory(prefix="groups-") as folder:
        path = Path(folder) / "training_groups.json"
        files.write_json(groups, path)
        run.log_file(path, "data")
    run.log_metrics({"num_training_groups": len(groups)})


def fit_settings(params: Params, num_epochs: int) -> FitSettings:
    """How every network is fitted, for `num_epochs`."""
    train = params.train
    return FitSettings(
        num_epochs=num_epochs,
        batch_size=train.batch_size,
        balance_classes=train.balance_classes,
        monitor=train.monitor,
        patience=train.patience,
        seed=train.seed,
    )


def code_digest() -> str:
    """Digest of the code that decides how a trial goes: another code, another study."""
    package = Path(melanoma.__file__).parent
    sources = [*package.glob("training/*.py"), *package.glob("models/*.py"), package / "data/augment.py"]
    digests = "".join(files.sha256_of_file(source) for source in sorted(sources))
    return hashlib.sha256(digests.encode()).hexdigest()


def describe_problem(params: Params, data: Packed) -> dict[str, Any]:
    """All that makes two trainings comparable, besides learning rate and depth."""
    return {
        "data_digest": data.digest,
        "model": params.model.model_dump(),
        "augment": params.augment.model_dump(),
        "train": params.train.model_dump(exclude={"num_epochs"}),
    }


def open_trial_run(
    cohort: str, parent: tracking.Run, tags: dict[str, str], *, name: str, chosen: dict[str, Any]
) -> AbstractContextManager[tracking.Run]:
    """A child run for one trial, with its parameters."""
    return tracking.open_run(
        experiment=experiment(cohort), name=name, tags=tags, parent_id=parent.run_id, params=chosen
    )
