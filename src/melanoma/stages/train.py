"""What the script `train` does for one network: which ones there are, how each is described, what is kept."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from melanoma import files
from melanoma.config import Params
from melanoma.config.training import Hyperparameters
from melanoma.data.packed import Packed
from melanoma.stages import experiments, resumable
from melanoma.training import saving
from melanoma.training.fit import Trained


@dataclass(frozen=True)
class Stage:
    """What all networks of a cohort share.

    Attributes:
        cohort: Its name.
        params: All parameters.
        data: Its images.
        tags: Of every run.
    """

    cohort: str
    params: Params
    data: Packed
    tags: dict[str, str] = field(repr=False)

    @property
    def checkpoints(self) -> Path:
        """Where the cohort's networks are kept until the stage is over."""
        return Path(self.params.train.checkpoints) / self.cohort


@dataclass(frozen=True)
class Network:
    """One network to train: `baseline` or `tuned`, with one seed."""

    model: str
    seed: int
    hyperparameters: Hyperparameters


def planned(params: Params, found: Hyperparameters) -> list[Network]:
    """All networks of a cohort, those of the first seed before others of the same model."""
    first = params.train.seed
    return [
        Network(model, seed, hyperparameters)
        for model, hyperparameters in (("baseline", params.baseline), ("tuned", found))
        for seed in range(first, first + params.train.num_seeds)
    ]


def job(network: Network, stage: Stage, *, parent_id: str | None = None) -> resumable.Job:
    """The training of a network, shown below the run `parent_id`."""
    params, seed = stage.params, network.seed
    described = experiments.describe_problem(params, stage.data)
    described["train"] = described["train"] | {"seed": seed, "num_epochs": params.train.num_epochs}
    return resumable.Job(
        name=f"{network.model}-seed{seed}",
        run_name=network.model if parent_id is None else f"{network.model} seed {seed}",
        experiment=experiments.experiment(stage.cohort),
        arrays=experiments.arrays(stage.data),
        recipe=experiments.recipe(params, network.hyperparameters),
        num_epochs=params.train.num_epochs,
        seed=seed,
        tags=stage.tags | {"model": network.model, "seed": str(seed)},
        described=network.hyperparameters.model_dump(exclude_none=True) | described,
        parent_id=parent_id,
    )


def keep(result: Trained, out: Path) -> None:
    """Write `model.keras`, `model.onnx` and `history.csv` to the folder `out`."""
    with files.atomic_folder(out) as folder:
        saving.save_model(result.model, folder)
        files.write_csv(result.history, folder / "history.csv")


def score_row(network: Network, result: Trained) -> dict[str, Any]:
    """The network's row for `seeds.compare`: its scores on validation at the epoch that is kept."""
    return {"model": network.model, "seed": network.seed, **resumable.scores_of(result.best_epoch)}
