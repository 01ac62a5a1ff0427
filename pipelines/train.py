"""Stage `train`: fit the paper's baseline and the tuned network, and keep both.

Run by `dvc repro train`. Reads params.yaml sections `train`, `baseline`, `model` and `augment`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd

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
    parser.add_argument("--curves", type=Path, required=True, help="folder of pictures to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    data = packed.open_packed(args.packed)
    tuning = files.read_json(args.tuning)
    best = {key: tuning["best"][key] for key in ("depth", "learning_rate")}
    tags = _training.run_tags(args.cohort, data)
    tags |= {"stage": "train", "tuning_run_id": tuning["run_id"]}
    runs = {}
    with files.atomic_folder(args.curves) as curves:
        for name, chosen, out in (
            ("baseline", params.baseline.model_dump(), args.baseline),
            ("tuned", best, args.tuned),
        ):
            with tracking.open_run(
                experiment=_training.experiment(args.cohort),
                name=name,
                tags=tags | {"model": name},
                params=chosen | _training.describe_problem(params, data),
            ) as run:
                with files.atomic_folder(out) as folder:
                    history = _fit(chosen, params, data=data, run=run, folder=folder)
                note = _training.data_note(args.cohort, data)
                figure = figures.history_figure(history, title=name, note=note)
                figure.savefig(curves / f"{name}.png", dpi=110)
                run.log_figure(figure, "history.png")
                run.log_file(args.packed / packed.INDEX, "data")
                _training.log_training_groups(data, run)
            runs[name] = run.run_id
            _cli.say(f"train@{args.cohort}", f"{name}: {_describe(chosen, history, params)}")
    files.write_json(runs, args.runs)
    return 0


def _fit(
    chosen: dict[str, Any],
    params: Params,
    *,
    data: packed.Packed,
    run: tracking.Run,
    folder: Path,
) -> pd.DataFrame:
    """Fit one network, write `model.keras`, `model.onnx` and `history.csv` to `folder`; its history."""
    keras.utils.set_random_seed(params.train.seed)
    model = fit.build_model(params.model, image_size=data.images.shape[1], depth=chosen["depth"])
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
    return history


def _describe(chosen: dict[str, Any], history: pd.DataFrame, params: Params) -> str:
    best = fit.best_epoch(history, params.train.monitor)
    return (
        f"depth {chosen['depth']}, learning rate {chosen['learning_rate']:.2g}, best of {len(history)} "
        f"epochs is {best['epoch']:.0f}, validation AUC {best[fit.OBJECTIVE]:.3f}"
    )


if __name__ == "__main__":
    sys.exit(_cli.run(main))
