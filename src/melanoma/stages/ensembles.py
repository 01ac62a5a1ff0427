"""Body of the command `ensembles`: does an ensemble over seeds or over folds rank unseen groups better?

Nested within the training split: one outer fold of its groups is held out; on the rest the networks of both
ensembles are trained as stage `train` would; the mean of each scores the outer fold. Neither validation nor
test is read, and the difference is one of the means themselves, out of fold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from melanoma import files, schema
from melanoma.config import Params
from melanoma.config.training import in_words
from melanoma.data import packed
from melanoma.data.groups import folds
from melanoma.data.packed import Packed, Part
from melanoma.errors import DataError
from melanoma.evaluation import bootstrap, ensemble_comparison
from melanoma.stages import experiments, resumable_training
from melanoma.stages.console import say
from melanoma.stages.resumable_training import TrainingJob
from melanoma.training import ensembles, features, scores
from melanoma.training.ensembles import Member, mean_of_logits
from melanoma.training.recipe import Recipe

NAME = "ensembles"
KINDS = ensemble_comparison.KINDS
HELD_OUT, UNUSED = "outer", "unused"  # in place of the splits of images that are scored, or not touched
SCORED_ON = "out of fold: groups of the training split that none of the networks learned from"


@dataclass(frozen=True)
class Paths:
    """Where a cohort's files are.

    Attributes:
        packed: Packed cohort.
        tuning: Summary of the search, read for the tuned model.
        out: JSON file to write; the scores of each network are written beside it as CSV.
    """

    packed: Path
    tuning: Path
    out: Path


@dataclass(frozen=True)
class Nested:
    """The comparison of two ensembles of one recipe on outer folds of a training split.

    Attributes:
        cohort: Name of the cohort.
        recipe: Training recipe of every network.
        params: All parameters.
        data: Packed cohort at the size of the recipe.
        num_outer: Number of outer folds that are held out, of `crossvalidate.num_folds`.
    """

    cohort: str
    recipe: Recipe
    params: Params
    data: Packed
    num_outer: int

    @property
    def checkpoints(self) -> Path:
        """The folder that holds trained networks until all are scored."""
        return Path(self.params.train.checkpoints) / f"{NAME}-{self.cohort}"

    def outer_folds(self) -> list[Packed]:
        """The cohort once for each outer fold; its other groups of the training split are the new one."""
        index, settings = self.data.index, self.params.crossvalidate
        rows = np.flatnonzero(index["split"] == schema.TRAIN)
        fold_of = folds.assign(
            index["target"].to_numpy()[rows],
            index["group_id"].to_numpy()[rows],
            num_folds=settings.num_folds,
            seed=settings.seed,
            what="The training split",
        )
        found = []
        for fold in range(self.num_outer):
            split = np.full(len(index), UNUSED, dtype=object)
            split[rows] = np.where(fold_of == fold, HELD_OUT, schema.TRAIN)
            found.append(replace(self.data, index=index.assign(split=split)))
        return found

    def members(self, kind: str) -> Iterator[tuple[Member, int]]:
        """The networks of an ensemble, each with the number of folds of which it may leave out one."""
        train = self.recipe.train.model_copy(update={"ensemble": kind})
        chosen = ensembles.members(self.recipe.hyperparameters, train, num_networks=train.num_networks)
        return ((member, ensembles.num_folds(train)) for member in chosen if member.is_served)

    def jobs(self) -> list[tuple[int, str, Packed, TrainingJob]]:
        """All trainings, refused before any begins where a fold has too few groups."""
        return [
            (outer, kind, data, self._job(outer, kind, data, member, num_folds))
            for outer, data in enumerate(self.outer_folds(), start=1)
            for kind in KINDS
            for member, num_folds in self.members(kind)
        ]

    def _job(self, outer: int, kind: str, data: Packed, member: Member, num_folds: int) -> TrainingJob:
        num_epochs, seed = self.recipe.num_epochs(self.params.train.num_epochs), member.seed
        arrays = experiments.all_of_training(data)
        if member.fold is not None:
            arrays = experiments.arrays(data, num_folds=num_folds, fold=member.fold)
        described = experiments.describe_problem(self.recipe, data)
        described["train"] |= {"seed": seed, "num_epochs": num_epochs, "ensemble": kind}
        name = f"outer fold {outer}, over {kind}, seed {seed}"
        return TrainingJob(
            name=f"outer{outer}-{kind}-{member.name}",
            run_name=f"{NAME} {name}",
            experiment=experiments.experiment(self.cohort),
            arrays=arrays,
            recipe=self.recipe,
            num_epochs=num_epochs,
            seed=seed,
            tags=experiments.run_tags(self.cohort, data)
            | {"stage": NAME, "ensemble": kind, "outer_fold": str(outer), "seed": str(seed)},
            described=self.recipe.hyperparameters.model_dump(exclude_none=True) | described,
            note=f"Comparison of ensembles, {name}; {experiments.data_note(self.cohort, data)}. It is "
            "trained to be compared, never to be registered.",
        )


def run(cohort: str, params: Params, *, model: str, num_outer: int, paths: Paths) -> str:
    """Train both ensembles on each outer fold, write the comparison, and return it in one line. It resumes.

    Args:
        cohort: Name of the cohort.
        params: All parameters; `train.num_networks` says how many networks each ensemble has.
        model: `baseline`, or `tuned` for the best hyperparameters of the search.
        num_outer: Number of outer folds, from 1 to `crossvalidate.num_folds`.
        paths: Where to read and write.

    Raises:
        DataError: A class has too few groups for the folds, there is only one network or a wrong number of
            outer folds, or a file is missing.
    """
    _require_sensible(params, num_outer)
    recipe = Recipe.of(experiments.hyperparameters(model, params, paths.tuning), params)
    data = packed.open_packed(paths.packed).of_size(recipe.hyperparameters.image_size)
    work = Nested(cohort, recipe, params, data, num_outer)
    jobs, experiment = work.jobs(), experiments.experiment(cohort)
    with files.exclusive_lock(work.checkpoints / "lock", f"the ensembles of cohort {cohort}"):
        with resumable_training.open_parent(
            [job for *_, job in jobs],
            work.checkpoints,
            name=f"{NAME} {model}",
            tags=experiments.run_tags(cohort, data) | {"stage": NAME, "model": model},
            params={"num_networks": params.train.num_networks, "num_outer": num_outer},
            note=f"Ensembles over seeds and over folds, compared out of fold on training groups; "
            f"{experiments.data_note(cohort, data)}. Hyperparameters: "
            f"{in_words(recipe.hyperparameters.model_dump(exclude_none=True))}.",
        ) as parent:
            results = {"run_id": parent.run_id} | _compare(work, model, _train_all(work, jobs, parent.run_id))
            parent.log_text(experiments.NO_EPOCH, experiments.HISTORY)
            files.write_json(results, paths.out)
            parent.log_file(paths.out)
        resumable_training.remove_checkpoints(work.checkpoints, experiment)
    return ensemble_comparison.summary_line(results)


def _require_sensible(params: Params, num_outer: int) -> None:
    if params.train.num_networks < 2:
        raise DataError(
            "Ensembles are compared with at least 2 networks, but train.num_networks is "
            f"{params.train.num_networks}. Raise it in params.yaml."
        )
    if not 1 <= num_outer <= params.crossvalidate.num_folds:
        raise DataError(
            f"The number of outer folds must be from 1 to {params.crossvalidate.num_folds} "
            f"(crossvalidate.num_folds), got {num_outer}."
        )


def _train_all(
    work: Nested, jobs: Sequence[tuple[int, str, Packed, TrainingJob]], parent_id: str
) -> pd.DataFrame:
    """The probabilities of each network for the images of its outer fold, one row per network and image."""
    found = []
    for outer, kind, data, job in jobs:
        with resumable_training.train(replace(job, parent_id=parent_id), work.checkpoints) as (result, _):
            part = data.part(HELD_OUT)
            probabilities = _predict_all(result.model, part, work.recipe)
        rows = data.index.iloc[part.rows][["image_id", "group_id", "target"]]
        found.append(rows.assign(outer=outer, kind=kind, network=job.name, probabilities=list(probabilities)))
        say(f"{NAME}@{work.cohort}", f"{job.name}: trained on {len(job.arrays.train)} images")
    return pd.concat(found, ignore_index=True)


def _predict_all(network: keras.Model, part: Part, recipe: Recipe) -> np.ndarray:
    if network.output_shape[-1] > 1:
        return scores.predict_all(network, part)
    return features.predict(network, part, recipe)[:, None]


def _compare(work: Nested, model: str, found: pd.DataFrame) -> dict[str, Any]:
    """The content of the results file."""
    draws = bootstrap.Draws(work.params.evaluate.num_bootstrap_draws, work.params.evaluate.seed)
    part = work.data.part(schema.TRAIN)
    means = [_mean(rows, part) for _, rows in found.groupby(["outer", "kind"], sort=True)]
    return {
        "cohort": work.cohort,
        "is_synthetic": work.data.is_synthetic,
        "data_digest": work.data.digest,
        "model": model,
        "hyperparameters": work.recipe.hyperparameters.model_dump(exclude_none=True),
        "scored_on": SCORED_ON,
        "num_networks": work.params.train.num_networks,
        **ensemble_comparison.compare(pd.concat(means, ignore_index=True), draws=draws),
    }


def _mean(rows: pd.DataFrame, part: Part) -> pd.DataFrame:
    """One row per image of an ensemble: the score of its mean and those of its networks.

    Args:
        rows: One row per network and image, column `probabilities`.
        part: Images with the same classes.
    """
    networks = [one.sort_values("image_id") for _, one in rows.groupby("network", sort=True)]
    probabilities = np.stack([np.stack(one["probabilities"].to_list()) for one in networks])
    scored = networks[0][["outer", "kind", "image_id", "group_id", "target"]]
    singles = [scores.probability_of_positive(one, part) for one in probabilities]
    mean = scores.probability_of_positive(mean_of_logits(probabilities), part)
    return scored.assign(score=mean, singles=list(np.stack(singles, axis=1)))
