"""Body of the stage `train`: fits baseline and tuned network on several seeds and keeps one of each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from melanoma import files, tracking
from melanoma.config import Params
from melanoma.config.training import Hyperparameters, in_words
from melanoma.data import packed
from melanoma.data.packed import Packed
from melanoma.evaluation import figures, seeds
from melanoma.stages import experiments, resumable_training
from melanoma.stages.console import say
from melanoma.stages.resumable_training import TrainingJob
from melanoma.tracking import Run
from melanoma.training import saving
from melanoma.training.fit import Trained
from melanoma.training.recipe import Recipe

DRAWN = ("loss", "val_loss", seeds.SELECTING)  # columns of a history that `dvc plots show` draws


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
        plots: Folder of tables that DVC draws.
    """

    baseline: Path
    tuned: Path
    runs: Path
    seeds: Path
    curves: Path
    plots: Path


def run(cohort: str, params: Params, *, inputs: Inputs, outputs: Outputs) -> str:
    """Train all networks of a cohort, write the outputs and return the comparison in one line."""
    data = packed.open_packed(inputs.packed)
    tuning = files.read_json(inputs.tuning)
    best = Hyperparameters.model_validate(tuning["best"]["hyperparameters"])
    tags = experiments.run_tags(cohort, data) | {"stage": "train", "tuning_run_id": tuning["run_id"]}
    checkpoints = Path(params.train.checkpoints) / cohort
    training = CohortTraining(cohort, data, tags, checkpoints, inputs, outputs)
    with files.exclusive_lock(checkpoints / "lock", f"the networks of cohort {cohort}"):
        recipes = {
            model: Recipe.of(hyperparameters, params)
            for model, hyperparameters in (("baseline", params.baseline), ("tuned", best))
        }
        rows = training.train(recipes)
        comparison = seeds.compare(rows, changed=_changes(params.baseline, best))
        training.write(comparison)
        resumable_training.remove_checkpoints(checkpoints, experiments.experiment(cohort))
    return seeds.summary_line(comparison)


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
        histories: Scores of each epoch of the kept network of each model.
    """

    cohort: str
    data: Packed
    tags: dict[str, str] = field(repr=False)
    checkpoints: Path
    inputs: Inputs
    outputs: Outputs
    runs: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Figure] = field(default_factory=dict)
    histories: dict[str, pd.DataFrame] = field(default_factory=dict)

    def train(self, recipes: dict[str, Recipe]) -> pd.DataFrame:
        """Train each model with every seed and write the networks that are kept.

        Args:
            recipes: Training recipe of the `baseline` and of the `tuned` model.

        Returns:
            One row per network: `model`, `seed` and its scores on the hold-out at the kept epoch.
        """
        rows = []
        for model, recipe in recipes.items():
            first = recipe.train.seed
            for seed in range(first, first + recipe.train.num_seeds):
                job = self._job(model, recipe, seed)
                with resumable_training.train(job, self.checkpoints) as (result, run):
                    rows.append({"model": model, "seed": seed, **result.best_scores})
                    self._log(model, seed, result, run)
                self._say(model, seed, result)
        return pd.DataFrame(rows)

    def _say(self, model: str, seed: int, result: Trained) -> None:
        """Print the outcome of one network."""
        auc, epoch = result.best_scores[seeds.SELECTING], result.best_epoch["epoch"]
        kept = f"hold-out AUC {auc:.3f} at epoch {epoch:g} of {len(result.history)}"
        say(f"train@{self.cohort}", f"{model} seed {seed}: {kept}")

    def _log(self, model: str, seed: int, result: Trained, run: Run) -> None:
        """Log the learning curves; keep the network of the model's first seed."""
        figure = figures.history_figure(result.history, title=f"{model}, seed {seed}", note=self._note)
        run.log_figure(figure, "history.png")
        if model not in self.runs:
            self.runs[model] = run.run_id
            self.curves[model] = figure
            self.histories[model] = result.history
            self._keep(model, result, run)

    def write(self, comparison: dict[str, Any]) -> None:
        """Write figures, run ids and the comparison over seeds, and log the comparison to the kept runs."""
        outputs = self.outputs
        seeds_figure = figures.seeds_figure(comparison, score=seeds.SELECTING, note=self._note)
        with files.atomic_folder(outputs.curves) as folder:
            for name, figure in (self.curves | {"seeds": seeds_figure}).items():
                figure.savefig(folder / f"{name}.png", dpi=110)
        files.write_csv(_learning_curves(self.histories), outputs.plots / "learning_curves.csv")
        files.write_csv(seeds.table(comparison), outputs.plots / "seeds.csv")
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

    def _job(self, model: str, recipe: Recipe, seed: int) -> TrainingJob:
        """The training of a network; its run is shown below the run of the model's first seed."""
        parent_id, num_folds = self.runs.get(model), recipe.train.num_folds
        hyperparameters = recipe.hyperparameters.model_dump(exclude_none=True)
        data = self.data.of_size(recipe.hyperparameters.image_size)
        described = experiments.describe_problem(recipe, self.data)
        described["train"] |= {"seed": seed, "num_epochs": recipe.train.num_epochs}
        return TrainingJob(
            name=f"{model}-seed{seed}",
            run_name=model if parent_id is None else f"{model} seed {seed}",
            experiment=experiments.experiment(self.cohort),
            # By seed, so that baseline and tuned are compared on the same hold-outs.
            arrays=experiments.arrays(data, num_folds=num_folds, fold=(seed - recipe.train.seed) % num_folds),
            recipe=recipe,
            num_epochs=recipe.train.num_epochs,
            seed=seed,
            tags=self.tags | {"model": model, "seed": str(seed)},
            described=hyperparameters | described,
            note=f"{model.capitalize()} network, seed {seed}; {self._note}. Hyperparameters: "
            f"{in_words(hyperparameters)}.",
            parent_id=parent_id,
        )

    def _keep(self, model: str, result: Trained, run: Run) -> None:
        """Write `model.keras`, `model.onnx` and `history.csv`, and log the images that were learned from."""
        with files.atomic_folder(getattr(self.outputs, model)) as folder:
            saving.save_model([result.model], folder)
            files.write_csv(result.history, folder / "history.csv")
        run.log_file(self.inputs.packed / packed.INDEX, "data")
        experiments.log_training_groups(self.data, run)


def _changes(baseline: Hyperparameters, tuned: Hyperparameters) -> dict[str, tuple[Any, Any]]:
    """The value of the baseline and the tuned one of each hyperparameter that differs."""
    return {
        name: (before, getattr(tuned, name)) for name, before in baseline if before != getattr(tuned, name)
    }


def _learning_curves(histories: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Columns `model`, `epoch`, `score`, `value`: the learning curves of each model, one below the other."""
    return pd.concat(
        [
            history.melt(id_vars="epoch", value_vars=list(DRAWN), var_name="score").assign(model=model)
            for model, history in histories.items()
        ]
    )
