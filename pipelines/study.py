"""Stage `study`: the paper, rebuilt: networks under its own protocol and under one without leakage.

Run by `make study`, or by `dvc repro study` where params.yaml: run.study names cohorts; a killed one goes on
where it stopped. Reads params.yaml sections `study`, `baseline`, `model`, `augment`, `assign` and `train`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from melanoma import config, files
from melanoma.data import packed
from melanoma.evaluation import repeats, study_results
from pipelines import _cli, _resumable, _study, _study_runs


def main(argv: Sequence[str] | None = None) -> int:
    """Write results with intervals, histories, ROC curves and every prediction."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON of results to write")
    parser.add_argument("--history", type=Path, required=True, help="CSV of all epochs to write")
    parser.add_argument("--roc", type=Path, required=True, help="CSV of ROC curves to write")
    parser.add_argument("--predictions", type=Path, required=True, help="table to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    stage = _study.Stage(args.cohort, params, packed.open_packed(args.packed))
    arms = list(stage.arms())
    histories, scored, runs = [], [], []
    with (
        files.held(stage.checkpoints / "lock", f"the study of {args.cohort}"),
        _study_runs.open_parent() as parent,
    ):
        for number, arm in enumerate(arms, start=1):
            with _resumable.trained(stage.job(arm, parent.run_id), stage.checkpoints) as (result, run):
                scored.append(stage.score(arm, result))
                runs.append(_study.run_row(arm, result, run))
                histories.append(_study.history_rows(arm, result))
                line = _study.log_test(scored[-1], run)
            _cli.say(f"study@{args.cohort}", f"{number} of {len(arms)}: {run.run_id[:8]} {arm.name}, {line}")
        predictions = pd.concat(scored, ignore_index=True)
        draws = repeats.Draws(params.study.num_bootstrap_draws, params.study.seed)
        results = _study.summarize(stage, predictions, pd.DataFrame(runs), draws)
        files.write_parquet(predictions, args.predictions)
        files.write_csv(pd.concat(histories, ignore_index=True), args.history)
        files.write_csv(study_results.roc_points(predictions), args.roc)
        files.write_json(results, args.out)
        parent.log_file(args.out, "results")
        _resumable.forget(stage.checkpoints, _study_runs.EXPERIMENT)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
