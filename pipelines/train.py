"""Stage `train`: fit the paper's baseline and the tuned network on several seeds, and keep one of each.

Run by `dvc repro train`; a killed one goes on where it stopped. Reads params.yaml sections `train`,
`baseline`, `model` and `augment`. The networks of the first seed are kept: chosen beforehand.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import config, files, tracking
from melanoma.config.training import Hyperparameters
from melanoma.data import packed
from melanoma.evaluation import figures, seeds
from melanoma.stages import experiments, resumable, train
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write both models, their histories, the ids of their runs and the comparison over seeds."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--tuning", type=Path, required=True, help="summary of the search")
    parser.add_argument("--baseline", type=Path, required=True, help="model folder to write")
    parser.add_argument("--tuned", type=Path, required=True, help="model folder to write")
    parser.add_argument("--runs", type=Path, required=True, help="JSON of run ids to write")
    parser.add_argument("--seeds", type=Path, required=True, help="JSON of the comparison to write")
    parser.add_argument("--curves", type=Path, required=True, help="folder of pictures to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    data = packed.open_packed(args.packed)
    tuning = files.read_json(args.tuning)
    found = Hyperparameters.model_validate(tuning["best"]["hyperparameters"])
    tags = experiments.run_tags(args.cohort, data) | {"stage": "train", "tuning_run_id": tuning["run_id"]}
    stage = train.Stage(args.cohort, params, data, tags)
    with files.exclusive_lock(stage.checkpoints / "lock", f"the networks of cohort {args.cohort}"):
        comparison = _train_all(args, stage, found)
        resumable.forget(stage.checkpoints, experiments.experiment(args.cohort))
    _cli.say(f"train@{args.cohort}", seeds.headline(comparison))
    return 0


def _train_all(args: argparse.Namespace, stage: train.Stage, found: Hyperparameters) -> dict[str, Any]:
    """Train every network and write all outputs; the comparison over seeds."""
    params, data = stage.params, stage.data
    note = experiments.data_note(args.cohort, data)
    runs: dict[str, str] = {}
    curves, rows = {}, []
    for network in train.planned(params, found):
        job = train.job(network, stage, parent_id=runs.get(network.model))
        with resumable.trained(job, stage.checkpoints) as (result, run):
            rows.append(train.score_row(network, result))
            title = f"{network.model}, seed {network.seed}"
            figure = figures.history_figure(result.history, title=title, note=note)
            run.log_figure(figure, "history.png")
            if network.model not in runs:  # the first seed's is kept, be it the best or not
                runs[network.model] = run.run_id
                curves[network.model] = figure
                train.keep(result, getattr(args, network.model))
                run.log_file(args.packed / packed.INDEX, "data")
                experiments.log_training_groups(data, run)
    comparison = seeds.compare(pd.DataFrame(rows), same_hyperparameters=found == params.baseline)
    curves["seeds"] = figures.seeds_figure(comparison, score=seeds.SELECTING, note=note)
    with files.atomic_folder(args.curves) as folder:
        for name, figure in curves.items():
            figure.savefig(folder / f"{name}.png", dpi=110)
    origin = {"cohort": args.cohort, "is_synthetic": data.is_synthetic}
    files.write_json(origin | comparison, args.seeds)
    for model, run_id in runs.items():
        run = tracking.resume_run(run_id)
        run.log_metrics(seeds.flat_metrics(comparison, model))
        run.log_figure(curves["seeds"], "seeds.png")
        run.log_file(args.seeds)
    files.write_json(runs, args.runs)
    return comparison


if __name__ == "__main__":
    sys.exit(_cli.run(main))
