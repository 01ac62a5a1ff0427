"""Stage `train`: fit the paper's baseline and the tuned network, and keep both.

Run by `dvc repro train`. Reads params.yaml sections `train`, `baseline`, `model` and `augment`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from melanoma import config, files, tracking
from melanoma.config import Params
from melanoma.data import packed
from melanoma.evaluation import figures
from melanoma.training import fit
from pipelines import _cli, _training


def main(argv: Sequence[str] | None = None) -> int:
    """Write both models, their histories and the ids of their runs."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--tuning", type=Path, required=True, help="summary of the search")
    parser.add_argument("--baseline", type=Path, required=True, help="model folder to write")
    parser.add_argument("--tuned", type=Path, required=True, help="model folder to write")
    parser.add_argument("--runs", type=Path, required=True, help="JSON of run ids to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    data = packed.open_packed(args.packed)
    tuning = files.read_json(args.tuning)
    best = {key: tuning["best"][key] for key in ("depth", "learning_rate")}
    tags = _training.run_tags(args.cohort, data, [args.packed, args.tuning])
    runs = {}
    for name, chosen, out in (
        ("baseline", params.baseline.model_dump(), args.baseline),
        ("tuned", best | {"trial": tuning["best"]["trial"]}, args.tuned),
    ):
        with tracking.open_run(
            experiment=_training.experiment(args.cohort),
            name=name,
            tags=tags | {"stage": "train", "model": name, "tuning_run_id": tuning["run_id"]},
            params=chosen | _training.describe_problem(params, data),
        ) as run:
            runs[name] = run.run_id
            with files.atomic_folder(out) as folder:
                _train(chosen, params, data=data, run=run, folder=folder)
            run.log_file(args.packed / packed.INDEX, "data")
            note = _training.data_note(args.cohort, data)
            history = files.read_csv(out / "history.csv")
            best_epoch = fit.best_epoch(history, params.train.monitor)
            run.log_figure(figures.history_figure(history, title=name, note=note), "history.png")
        _cli.say(
            f"train@{args.cohort}",
            f"{name}: depth {chosen['depth']}, learning rate {chosen['learning_rate']:.2g}, "
            f"best of {len(history)} epochs is {best_epoch['epoch']:.0f}, "
            f"validation AUC {best_epoch[fit.OBJECTIVE]:.3f}",
        )
    files.write_json(runs, args.runs)
    return 0


def _train(
    chosen: dict[str, Any],
    params: Params,
    *,
    data: packed.Packed,
    run: tracking.Run,
    folder: Path,
) -> None:
    """Fit one network and write `model.keras`, `model.onnx` and `history.csv` to `folder`."""
    keras.utils.set_random_seed(params.train.seed)
    model = fit.build_model(params.model, image_size=params.pack.image_size, depth=chosen["depth"])
    history = fit.fit(
        model,
        _training.arrays(data),
        _training.fit_settings(params, params.train.num_epochs),
        learning_rate=chosen["learning_rate"],
        augment=params.augment,
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, scores: run.log_epoch(epoch + 1, scores)
            )
        ],
    )
    fit.save_model(model, folder)
    files.write_csv(history, folder / "history.csv")
    best = fit.best_epoch(history, params.train.monitor)
    run.log_metrics({"best_epoch": best["epoch"], "best_val_auc_roc": best[fit.OBJECTIVE]})


if __name__ == "__main__":
    sys.exit(_cli.run(main))
