"""Body of the stage `tune`: searches hyperparameters by scores on the hold-out."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from melanoma import files, tracking
from melanoma.config import Params
from melanoma.config.training import Hyperparameters
from melanoma.config.tuning import Space, Starts, Tune
from melanoma.data import packed
from melanoma.data.packed import Packed
from melanoma.stages import experiments, trial_runs, trial_worker
from melanoma.training import search, spaces, studies
from melanoma.training.recipe import NOT_THE_PROBLEM as NOT_OF_A_TRAINING
from melanoma.training.recipe import Recipe, code_digest

APPLICATIONS = "applications"  # the family whose names only Keras knows
# Settings of `params.yaml: train` that are not part of the search problem: changing one resumes the search.
NOT_THE_PROBLEM = NOT_OF_A_TRAINING | {"input"}


@dataclass(frozen=True)
class Outputs:
    """Paths that the stage writes: a JSON summary and an HTML page with plots."""

    summary: Path
    page: Path


def run(
    cohort: str,
    params: Params,
    *,
    packed_folder: Path,
    outputs: Outputs,
    say: Callable[[str], object],
) -> str:
    """Search and write the outputs, and return a summary line. An interrupted search resumes.

    Args:
        cohort: Name of the cohort.
        params: All parameters.
        packed_folder: Packed cohort.
        outputs: Where to write.
        say: Prints a line about each trial.
    """
    tune, data = params.settings_of_search, packed.open_packed(packed_folder)
    _require_networks_of_keras(tune.space, params.starts)
    datasets = experiments.datasets_of(cohort, experiments.arrays(data, num_folds=params.train.num_folds))
    problem = describe_search(params, data)
    name = studies.study_name(cohort, problem, tune.study)
    study = studies.open_study(name, problem, tune, starts=params.starts)
    study_id, experiment = study.user_attrs[studies.IDENTITY], experiments.experiment(cohort)
    tags = experiments.run_tags(cohort, data) | {"stage": "tune"}
    about = _describe(params, experiments.data_note(cohort, data))
    with (
        files.exclusive_lock(study_lock(tune, name), f"study {name}"),
        tracking.open_run(
            experiment=experiment,
            name=f"tune {name}",
            tags=tags | {"study": name, studies.IDENTITY: study_id, "objective": tune.objective},
            params=problem,
            note=about,
            run_id=tracking.find_run(experiment, tag=studies.IDENTITY, value=study_id),
        ) as parent,
    ):
        parent.log_datasets(datasets)
        describe = partial(describe_trial, params, data)
        runs = trial_runs.TrialRuns(parent, tags, tune.objective, params.starts, describe, datasets)
        workers = trial_worker.open_trial_workers(params, packed_folder, data.digest)
        search.run_trials(study, workers, tune=tune, starts=params.starts, runs=runs, say=say)
        summary = studies.summarize(study, tune, params.starts, run_ids=runs.ids())
        summary |= {
            "run_id": parent.run_id,
            "is_synthetic": data.is_synthetic,
            "positive_means": data.positive_means,
        }
        page_note = experiments.data_note(cohort, data)
        trial_runs.log_study(parent, study, summary, about=about, note=page_note, page=outputs.page)
        files.write_json(summary, outputs.summary)
        parent.log_file(outputs.summary)
    return studies.summary_line(summary)


def _require_networks_of_keras(space: Space, starts: Starts) -> None:
    """Build each network of Keras that a trial may have, at the smallest size of images it may get.

    Raises:
        TrainingError: Keras does not know the network, or it cannot take such images.
    """
    firsts = starts.first_trials().values()
    wanted = {(str(first.network), first.image_size) for first in firsts if first.family == APPLICATIONS}
    if APPLICATIONS in space.families(starts):
        start = starts.of(APPLICATIONS)
        names = [start.network] if space.network is None else space.network.choices
        sizes = [start.image_size] if space.image_size is None else space.image_size.choices
        wanted |= {(str(name), min(map(int, sizes))) for name in names}
    if wanted:
        from melanoma.models import applications  # with Keras, which takes seconds to import

        for name, size in sorted(wanted):
            applications.build(network=name, image_size=size, dense_units=0, dropout=0.0, weights=None)


def _describe(params: Params, note: str) -> str:
    """What is searched, for the description of the search's run."""
    tune, num_folds = params.settings_of_search, params.train.num_folds
    at_most = "" if tune.max_minutes is None else f" in at most {tune.max_minutes} minutes"
    of_folds = f", as a mean over {num_folds} folds" if num_folds > 1 else ""
    return (
        f"{'Wide hyperparameter' if tune.wide else 'Hyperparameter'} search; {note}. "
        f"{tune.num_trials} trials of at most {tune.num_epochs} epochs{at_most}, "
        f"compared by {tune.objective} on the hold-out of the training groups{of_folds}. "
        f"Varied: {spaces.in_words(tune.space, params.starts)}."
    )


def describe_search(params: Params, data: Packed) -> dict[str, Any]:
    """Everything besides hyperparameters that makes two trials comparable: the problem of a study.

    The number of epochs, seeds and place of augmentation of the final networks are not part of it.
    """
    problem = experiments.describe_problem(Recipe.of(params.baseline, params), data)
    problem["train"] = {key: value for key, value in problem["train"].items() if key not in NOT_THE_PROBLEM}
    return problem | {
        **{key: first.model_dump() for key, first in params.starts.first_trials().items()},
        "augment": params.augment.model_dump(),  # a trial may draw any set
        "tune": params.settings_of_search.model_dump(exclude=studies.NOT_THE_PROBLEM),
        "code_digest": code_digest(),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
    }


def describe_trial(params: Params, data: Packed, hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Parameters of a trial's MLflow run besides its hyperparameters, named as for final networks."""
    described = experiments.describe_problem(Recipe.of(hyperparameters, params), data)
    tune = params.settings_of_search
    described["train"] |= {"seed": studies.trial_seed(tune), "num_epochs": tune.num_epochs}
    return described


def study_lock(tune: Tune, name: str) -> Path:
    """Lock file that keeps two searches of this machine out of one study; it lies beside a journal."""
    folder = Path(tempfile.gettempdir()) if "://" in tune.storage else Path(tune.storage).parent
    return folder / f"{name}.lock"
