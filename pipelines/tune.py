"""Stage `tune`: search hyperparameters around the paper's network, by its scores on validation.

Run by `dvc repro tune`; a killed search goes on where it stopped. Reads params.yaml sections `tune`,
`baseline`, `model`, `augment`, `train` and `execution`.
"""

import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from melanoma import config, files, tracking
from melanoma.data import packed
from melanoma.stages import experiments, trial, trial_runs
from melanoma.training import recipe, search, studies
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the best parameters, every trial and pictures of the study."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON summary to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder of pictures to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    tune, baseline = params.tune, params.baseline
    data = packed.open_packed(args.packed)
    recipe.require_both_classes(experiments.arrays(data))
    problem = experiments.describe_search(params, data)
    name = studies.study_name(args.cohort, problem, tune.study)
    study = studies.open_study(name, problem, tune, baseline=baseline)
    study_id, experiment = study.user_attrs[studies.IDENTITY], experiments.experiment(args.cohort)
    tags = experiments.run_tags(args.cohort, data) | {"stage": "tune"}
    lock = experiments.study_lock(tune, name)
    with (
        files.exclusive_lock(lock, f"study {name}"),
        tracking.open_run(
            experiment=experiment,
            name=f"tune {name}",
            tags=tags | {"study": name, studies.IDENTITY: study_id, "objective": tune.objective},
            params=problem,
            run_id=tracking.find_run(experiment, tag=studies.IDENTITY, value=study_id),
        ) as parent,
    ):
        described = experiments.describe_trial(params, data)
        runs = trial_runs.TrialRuns(parent, tags, tune.objective, baseline, described)
        workers = trial.open_trial_workers(params, args.packed, data.digest)
        say = partial(_cli.say, f"tune@{args.cohort}")
        search.run_trials(study, workers, tune=tune, baseline=baseline, runs=runs, say=say)
        summary = studies.summarize(study, tune, baseline, run_ids=runs.ids())
        summary |= {"run_id": parent.run_id, "is_synthetic": data.is_synthetic}
        with files.atomic_folder(args.figures) as folder:
            note = experiments.data_note(args.cohort, data)
            trial_runs.log_study(parent, study, summary, note=note, folder=folder)
        files.write_json(summary, args.out)
        parent.log_file(args.out)
    say(studies.headline(summary))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: no trial is left running
    sys.exit(_cli.run(main))
