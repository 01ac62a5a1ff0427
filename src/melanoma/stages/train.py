"""Body of the stage `train`: fits baseline and tuned network on several seeds and keeps one of each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from melanoma import files, tracking
from melanoma.config import Params
from melanoma.config.training import Hyperparameters
from melanoma.data import packed
from melanoma.data.packed import Packed
from melanoma.evaluation import figures, seeds
from melanoma.stages import experiments, resumable_training
from melanoma.stages.resumable_training import TrainingJob
from melanoma.tracking import Run
from melanoma.training import saving
from melanoma.training.fit import Trained
from melanoma.training.recipe import Recipe


@dataclass(frozen=True)
class Inputs:
    """Paths that the stage reads: the packed cohort and the summary of the hyperparameter search."""

    packed: Path
    tuning: Path


@dataclass(frozen=True)
class Outputs:
    """Paths that the stage writes.

    Attributes:
        baseline: Model folder of the baseline.
        tuned: Model folder of the tuned network.
        runs: JSON with the MLflow run id of each kept network.
        seeds: JSON with the comparison over seeds.
        curves: Folder of figures.
    """

    baseline: Path
    tuned: Path
    runs: Path
    seeds: Path
    curves: Path


@dataclass(frozen=True)
class Network:
    """One network to train: the `baseline` or the `tuned` model with one seed."""

    model: str
    seed: int
    recipe: Recipe


def run(cohort: str, params: Params, *, inputs: Inputs, outputs: Outputs) -> str:
    """Train all networks of a cohort and write the outputs; the headline of the comparison over seeds."""
    data = packed.open_packed(inputs.packed)
    tuning = files.read_json(inputs.tuning)
    best = Hyperparameters.model_validate(tuning["best"]["hyperparameters"])
    tags = experiments.run_tags(cohort, data) | {"stage": "train", "tuning_run_id": tuning["run_id"]}
    checkpoints = Path(params.train.checkpoints) / cohort
    training = CohortTraining(cohort, data, tags, checkpoints, inputs, outputs)
    with files.exclusive_lock(checkpoints / "lock", f"the networks of cohort {cohort}"):
        rows = training.train(planned(params, best))
        comparison = seeds.compare(rows, same_hyperparameters=best == params.baseline)
        training.write(comparison)
        resumable_training.remove_checkpoints(checkpoints, experiments.experiment(cohort))
    return seeds.headline(comparison)


def planned(params: Params, best: Hyperparameters) -> list[Network]:
    """All networks of a cohort, the first seed of each model before its other seeds."""
    first = params.train.seed
    return [
        Network(model, seed, Recipe(hyperparameters, params.model, params.augment, params.train))
        for model, hyperparameters in (("baseline", params.baseline), ("tuned", best))
        for seed in range(first, first + params.train.num_seeds)
    ]


@dataclass
class CohortTraining:
    """The training of all networks of a cohort.

    The network of the first seed of each model is kept, whether or not it is the best: it is chosen
    beforehand.

    Attributes:
        cohort: Name of the cohort.
        data: Packed images of the cohort.
        tags: MLflow tags of every run.
        checkpoints: Folder of the checkpoints, kept until all outputs are written.
        inputs: Paths to read.
        outputs: Paths to write.
        runs: MLflow run id of the kept network of each model.
        curves: Learning curves of the kept network of each model.
    """

    cohort: str
    data: Packed
    tags: dict[str, str] = field(repr=False)
    checkpoints: Path
    inputs: Inputs
    outputs: Outputs
    runs: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Figure] = field(default_factory=dict)

    def train(self, networks: list[Network]) -> pd.DataFrame:
        """Train every network and write those that are kept.

        Returns:
            One row a network: `model`, `seed` and its validation scores at the kept epoch.
        """
        rows = []
        for network in networks:
            with resumable_training.train(self._job(network), self.checkpoints) as (result, run):
                rows.append({"model": network.model, "seed": network.seed, **result.best_scores})
                title = f"{network.model}, seed {network.seed}"
                figure = figures.history_figure(result.history, title=title, note=self._note)
                run.log_figure(figure, "history.png")
                if network.model not in self.runs:
                    self.runs[network.model] = run.run_id
                    self.curves[network.model] = figure
                    self._keep(network, result, run)
        return pd.DataFrame(rows)

    def write(self, comparison: dict[str, Any]) -> None:
        """Write figures, run ids and the comparison over seeds, and log the comparison to the kept runs."""
        outputs, seeds_figure = (
            self.outputs,
            figures.seeds_figure(comparison, score=seeds.SELECTING, note=self._note),
        )
        with files.atomic_folder(outputs.curves) as folder:
            for name, figure in (self.curves | {"seeds": seeds_figure}).items():
                figure.savefig(folder / f"{name}.png", dpi=110)
        origin = {"cohort": self.cohort, "is_synthetic": self.data.is_synthetic}
        files.write_json(origin | comparison, outputs.seeds)
        for model, run_id in self.runs.items():
            run = tracking.resume_run(run_id)
            run.log_metrics(seeds.flat_metrics(comparison, model))
            run.log_figure(seeds_figure, "seeds.png")
            run.log_file(outputs.seeds)
        files.write_json(self.runs, outputs.runs)

    @property
    def _note(self) -> str:
        return experiments.data_note(self.cohort, self.data)

    def _job(self, network: Network) -> TrainingJob:
        """The training of a network; its run is shown below the run of the model's first seed."""
        recipe, seed, parent_id = network.recipe, network.seed, self.runs.get(network.model)
        described = experiments.describe_problem(recipe, self.data)
        described["train"] |= {"seed": seed, "num_epochs": recipe.train.num_epochs}
        return TrainingJob(
            name=f"{network.model}-seed{seed}",
            run_name=network.model if parent_id is None else f"{network.model} seed {seed}",
            experiment=experiments.experiment(self.cohort),
            arrays=experiments.arrays(self.data),
            recipe=recipe,
            num_epochs=recipe.train.num_epochs,
            seed=seed,
            tags=self.tags | {"model": network.model, "seed": str(seed)},
            described=recipe.hyperparameters.model_dump(exclude_none=True) | described,
            parent_id=parent_id,
        )

    def _keep(self, network: Network, result: Trained, run: Run) -> None:
        """Write `model.keras`, `model.onnx` and `history.csv`, and log the images that were learned from."""
        with files.atomic_folder(getattr(self.outputs, network.model)) as folder:
            saving.save_model(result.model, folder)
            files.write_csv(result.history, folder / "history.csv")
        run.log_file(self.inputs.packed / packed.INDEX, "data")
        experiments.log_training_groups(self.data, run)
