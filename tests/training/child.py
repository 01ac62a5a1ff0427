"""One training in a process of its own, which may be killed in the middle of an epoch.

    python child.py FOLDER OUT [KILL_IN_EPOCH]

FOLDER holds `images.npz` and, while training goes on, the checkpoint; OUT gets history and weights.
"""

import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np

from melanoma import config
from melanoma.data.packed import Part
from melanoma.training import fit
from melanoma.training.recipe import Arrays, Recipe
from tests.imports import ROOT

# All that has a state: dropout draws, batch norm averages, Adam remembers, a cosine counts.
HYPERPARAMETERS = {"depth": 1, "filters": 4, "dense_units": 4, "dropout": 0.3, "batch_size": 8}
SETTINGS = {"schedule": "cosine", "warmup_epochs": 1, "patience": 6, "deterministic": True}


class KillIn(keras.callbacks.Callback):  # type: ignore[misc]
    """SIGKILL after the second batch of an epoch (from 1)."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._doomed, self._is_now = epoch, False

    def on_epoch_begin(self, epoch, logs=None):
        self._is_now = epoch + 1 == self._doomed

    def on_train_batch_end(self, batch, logs=None):
        if self._is_now and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, out: Path, kill_in_epoch: int) -> None:
    stored = np.load(folder / "images.npz")
    parts = [
        Part(
            stored[f"{split}_images"],
            np.arange(len(stored[f"{split}_targets"])),
            stored[f"{split}_targets"],
            image_ids=np.arange(len(stored[f"{split}_targets"])).astype(str),
        )
        for split in ("train", "validation")
    ]
    params = config.load(ROOT / "params.yaml")
    recipe = Recipe(
        params.baseline.model_copy(
            update=HYPERPARAMETERS | {"learning_rate": 1e-2, "weight_decay": 1e-3, "batch_norm": True}
        ),
        params.model,
        params.augment,
        params.train.model_copy(update=SETTINGS),
    )
    trained = fit.train(
        Arrays(*parts),
        recipe,
        num_epochs=6,
        seed=1,
        checkpoint=folder / "state.npz",
        callbacks=[KillIn(kill_in_epoch)],
    )
    arrays = {f"weight_{number}": weight for number, weight in enumerate(trained.model.get_weights())}
    arrays |= {str(name): column.to_numpy() for name, column in trained.history.items()}
    np.savez(out, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
