"""Body of the stage `train`: fits baseline and tuned networks on several seeds and keeps the first of each.

One network of the baseline is kept, and `train.num_networks` of the tuned model: their mean is served.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from melanoma import files, tracking
from melanoma.config import Params
from melanoma.config.training import Hyperparameters, in_words
from melanoma.data import packed
from melanoma.data.packed import Packed, Part
from melanoma.evaluation import figures, seeds
from melanoma.stages import experiments, resumable_training
from melanoma.stages.console import say
from melanoma.stages.resumable_training import TrainingJob
from melanoma.tracking import Run
from melanoma.training import ensembles, features, saving, view_scores
from melanoma.training.ensembles import Member
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays, Recipe

HELD_OUT = "held_out.csv"
NUM_CHECKED = 64  # training images whose answers must hold if weights are stored in 16 bits
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
    plans = {
        model: Plan.of(Recipe.of(hyperparameters, params), num_networks=num_networks)
        for model, hyperparameters, num_networks in (
            ("baseline", params.baseline, 1),
            ("tuned", best, params.train.num_networks),
        )
    }
    with files.exclusive_lock(checkpoints / "lock", f"the networks of cohort {cohort}"):
        rows = training.train(plans)
        comparison = seeds.compare(
            rows,
            changed=_changes(params.baseline, best),
            networks={model: plan.describe() for model, plan in plans.items()},
        )
        training.write(comparison)
        resumable_training.remove_checkpoints(checkpoints, experiments.experiment(cohort))
    return seeds.summary_line(comparison)


@dataclass(frozen=True)
class Plan:
    """The networks of a model: those whose mean is served come first, then others that judge its recipe."""

    recipe: Recipe
    members: list[Member]

    @classmethod
    def of(cls, recipe: Recipe, *, num_networks: int) -> "Plan":
        """The networks of a model of which `num_networks` are served."""
        members = ensembles.members(recipe.hyperparameters, recipe.train, num_networks=num_networks)
        return cls(recipe, members)

    @property
    def served(self) -> list[Member]:
        """The networks that are served."""
        return [member for member in self.members if member.is_served]

    def describe(self) -> dict[str, Any]:
        """Entry of the model in `networks` of seeds.json."""
        chooses = self.recipe.hyperparameters.keep_epoch == "best"
        return {
            "seeds": [member.seed for member in self.served],
            "learned_from": seeds.ALL if self.served[0].fold is None else seeds.ALL_BUT_ONE,
            "scored_on": seeds.HOLDOUT if chooses else seeds.OUT_OF_FOLD,
            "num_folds": ensembles.num_folds(self.recipe.train),
        }


@dataclass
class CohortTraining:
    """The training of all networks of a cohort.

    The networks of the first seeds of each model are kept, whether or not they are the best: they are chosen
    beforehand. The run of the first is the parent of all other runs of the model.

    Attributes:
        cohort: Name of the cohort.
        data: Packed images of the cohort.
        tags: MLflow tags of every run.
        checkpoints: Folder of the checkpoints, kept until all outputs are written.
        inputs: Paths to read.
        outputs: Paths to write.
        runs: MLflow run id of the first kept network of each model.
        curves: Learning curves of this network.
        histories: Scores of each epoch of this network.
        views: By model, for each network that judges its recipe, its held-out scores by number of views.
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
    views: dict[str, list[dict[str, dict[str, float]]]] = field(default_factory=dict)

    def train(self, plans: dict[str, Plan]) -> pd.DataFrame:
        """Train all networks and write those that are kept.

        Args:
            plans: Networks of the `baseline` and of the `tuned` model.

        Returns:
            One row per network that judges its recipe: `model`, `seed` and its scores on the groups that it
            did not learn from, at the kept epoch.

        Raises:
            DataError: A class has too few groups for the folds; before anything is trained.
        """
        arrays = {
            model: [self._arrays(plan.recipe, member) for member in plan.members]
            for model, plan in plans.items()
        }
        return pd.concat([self._train_model(model, plan, arrays[model]) for model, plan in plans.items()])

    def _train_model(self, model: str, plan: Plan, arrays: list[Arrays]) -> pd.DataFrame:
        rows, kept, scored = [], [], []
        for member, learned in zip(plan.members, arrays, strict=True):
            job = self._job(model, plan.recipe, member, learned)
            with resumable_training.train(job, self.checkpoints) as (result, run):
                if member.is_judge and (part := learned.holdout) is not None:
                    rows.append({"model": model, "seed": member.seed, **result.best_scores})
                    scored += [_score_held_out(part, member, result, plan.recipe)]
                    self.views.setdefault(model, []).append(view_scores.measure(result.model, part))
                self._log(model, member, result, run)
            kept += [result.model] if member.is_served else []
            self._say(model, member, result)
        checked = arrays[0].train.take(slice(NUM_CHECKED))
        self._keep(model, kept, pd.concat(scored), images=checked)
        return pd.DataFrame(rows)

    def _arrays(self, recipe: Recipe, member: Member) -> Arrays:
        data = self.data.of_size(recipe.hyperparameters.image_size)
        if member.fold is None:
            return experiments.all_of_training(data)
        return experiments.arrays(data, num_folds=ensembles.num_folds(recipe.train), fold=member.fold)

    def _say(self, model: str, member: Member, result: Trained) -> None:
        """Print the outcome of one network."""
        epoch, num_epochs = result.best_epoch["epoch"], len(result.history)
        kept = f"all training groups, {num_epochs} epochs"
        if member.is_judge:
            kept = (
                f"held-out AUC {result.best_scores[seeds.SELECTING]:.3f} at epoch {epoch:g} of {num_epochs}"
            )
        say(f"train@{self.cohort}", f"{model} seed {member.seed}: {kept}")

    def _log(self, model: str, member: Member, result: Trained, run: Run) -> None:
        """Log the learning curves; remember run and curves of the model's first network."""
        title = f"{model}, seed {member.seed}"
        figure = figures.history_figure(result.history, title=title, note=self._note)
        run.log_figure(figure, "history.png")
        if model not in self.runs:
            self.runs[model] = run.run_id
            self.curves[model] = figure
            self.histories[model] = result.history

    def write(self, comparison: dict[str, Any]) -> None:
        """Write figures, run ids and the comparison over seeds, and log the comparison to the kept runs."""
        outputs = self.outputs
        seeds_figure = figures.seeds_figure(comparison, score=seeds.SELECTING, note=self._note)
        with files.atomic_folder(outputs.curves) as folder:
            for name, figure in (self.curves | {"seeds": seeds_figure}).items():
                figure.savefig(folder / f"{name}.png", dpi=110)
        files.write_csv(_learning_curves(self.histories), outputs.plots / "learning_curves.csv")
        files.write_csv(seeds.table(comparison), outputs.plots / "seeds.csv")
        origin = {
            "cohort": self.cohort,
            "is_synthetic": self.data.is_synthetic,
            "positive_means": self.data.positive_means,
        }
        views = {"views": seeds.describe_views(self.views)}
        files.write_json(origin | comparison | views, outputs.seeds)
        for model, run_id in self.runs.items():
            run = tracking.resume_run(run_id)
            run.log_metrics(seeds.flat_metrics(comparison, model))
            run.log_figure(seeds_figure, "seeds.png")
            run.log_file(outputs.seeds)
        files.write_json(self.runs, outputs.runs)

    @property
    def _note(self) -> str:
        return experiments.data_note(self.cohort, self.data)

    def _job(self, model: str, recipe: Recipe, member: Member, arrays: Arrays) -> TrainingJob:
        """The training of a network; its run is shown below the run of the model's first network."""
        parent_id, seed = self.runs.get(model), member.seed
        num_epochs = recipe.num_epochs(recipe.train.num_epochs)
        hyperparameters = recipe.hyperparameters.model_dump(exclude_none=True)
        described = experiments.describe_problem(recipe, self.data)
        described["train"] |= {"seed": seed, "num_epochs": num_epochs}
        held_out = "nothing" if member.fold is None else f"fold {member.fold + 1}"
        is_extra = member.is_judge and not member.is_served and member.seed == recipe.train.seed
        return TrainingJob(
            name=f"{model}-{member.name}",
            run_name=model
            if parent_id is None
            else f"{model} seed {seed}" + (" (judges the recipe)" if is_extra else ""),
            experiment=experiments.experiment(self.cohort),
            arrays=arrays,
            recipe=recipe,
            num_epochs=num_epochs,
            seed=seed,
            tags=self.tags
            | {"model": model, "seed": str(seed), "held_out": held_out, "is_served": str(member.is_served)},
            described=hyperparameters | described,
            note=f"{model.capitalize()} network, seed {seed}, {held_out} held out; {self._note}. "
            f"Hyperparameters: {in_words(hyperparameters)}.",
            parent_id=parent_id,
        )

    def _keep(
        self, model: str, networks: Sequence[keras.Model], scored: pd.DataFrame, *, images: np.ndarray
    ) -> None:
        """Write what is served, and log the images that were learned from.

        `held_out.csv` has the score of each held-out training image, from a network that did not learn it;
        where folds are held out in turn, that is every training image.
        """
        run = tracking.resume_run(self.runs[model])
        with files.atomic_folder(getattr(self.outputs, model)) as folder:
            saving.save_model(
                networks,
                folder,
                classes=self.data.classes,
                positive=self.data.positive_classes,
                images=images,
            )
            files.write_csv(self.histories[model], folder / "history.csv")
            files.write_csv(scored.drop_duplicates("image_id"), folder / HELD_OUT)
        run.log_file(self.inputs.packed / packed.INDEX, "data")
        experiments.log_training_groups(self.data, run)


def _score_held_out(part: Part, member: Member, result: Trained, recipe: Recipe) -> pd.DataFrame:
    """The score of each image that a judge did not learn from."""
    score = features.predict(result.model, part, recipe)
    by_image = pd.DataFrame({"image_id": part.image_ids, "score": score})
    return by_image.assign(seed=member.seed, fold=member.fold)


def _changes(baseline: Hyperparameters, tuned: Hyperparameters) -> dict[str, tuple[Any, Any]]:
    """The value of the baseline and the tuned one of each hyperparameter that differs."""
    return {
        name: (before, getattr(tuned, name)) for name, before in baseline if before != getattr(tuned, name)
    }


def _learning_curves(histories: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Columns `model`, `epoch`, `score`, `value`: the learning curves of each model, one below the other."""
    return pd.concat(
        [
            history.melt(
                id_vars="epoch", value_vars=[name for name in DRAWN if name in history], var_name="score"
            ).assign(model=model)
            for model, history in histories.items()
        ]
    )
