"""Stage `tune`: search learning rate and depth around the paper's network on the validation split.

Run by `dvc repro tune`; a killed search goes on where it stopped. Reads params.yaml sections `tune`,
`baseline`, `model`, `augment` and `train`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from melanoma import config, files, tracking
from melanoma.data import packed
from melanoma.evaluation import figures
from melanoma.training import search
from pipelines import _cli, _training


def main(argv: Sequence[str] | None = None) -> int:
    """Write the best parameters."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON summary to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    data = packed.open_packed(args.packed)
    problem = _training.describe_problem(params, data) | {
        "tune": params.tune.model_dump(exclude={"num_trials", "storage"}),  # more trials: the same study
        "baseline": params.baseline.model_dump(),
        "code_digest": _training.code_digest(),
    }
    study = search.open_study(search.study_name(args.cohort, problem), params.tune, params.baseline)

    tags = _training.run_tags(args.cohort, data) | {"stage": "tune"}
    with tracking.open_run(
        experiment=_training.experiment(args.cohort),
        name=f"tune {study.study_name}",
        tags=tags,
        params=problem,
        run_id=study.user_attrs.get("run_id"),
    ) as parent:
        study.set_user_attr("run_id", parent.run_id)
        tracking.end_abandoned_children(parent)

        def open_trial(number: int, chosen: dict[str, Any]):  # type: ignore[no-untyped-def]
            name = f"trial {number}" + (" (baseline)" if chosen == params.baseline.model_dump() else "")
            return _training.open_trial_run(
                args.cohort, parent, tags | {"trial": str(number)}, name=name, chosen=chosen
            )

        search.run_trials(
            study,
            _training.arrays(data),
            tune=params.tune,
            settings=_training.fit_settings(params, params.tune.num_epochs),
            model=params.model,
            augment=params.augment,
            open_log=open_trial,
        )
        summary = search.summarize(study) | {"run_id": parent.run_id}
        summary["is_synthetic"] = data.is_synthetic
        parent.log_metrics({"best_val_auc_roc": summary["best"]["val_auc_roc"]})
        # Tags, not parameters: more trials may find a better one, and MLflow lets no parameter change.
        parent.set_tags({f"best.{key}": value for key, value in study.best_params.items()})
        note = _training.data_note(args.cohort, data)
        parent.log_figure(figures.trials_figure(summary["trials"], note=note), "trials.png")
        files.write_json(summary, args.out)
        parent.log_file(args.out)
    best = summary["best"]
    _cli.say(
        f"tune@{args.cohort}",
        f"{summary['num_finished']} trials; best is trial {best['trial']} with depth "
        f"{best['depth']}, learning rate {best['learning_rate']:.2g}: validation AUC "
        f"{best['val_auc_roc']:.3f}",
    )
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
