"""How fast a training is, and a bar that says so."""

import keras
from tqdm import tqdm


class Progress(keras.callbacks.Callback):
    """A bar over epochs: the last scores, images a second and the time left."""

    def __init__(self, name: str, *, num_epochs: int, num_done: int, shown: tuple[str, ...]) -> None:
        """The bar appears when training begins.

        Args:
            name: Stands before it.
            num_epochs: Its length.
            num_done: Epochs of an earlier process.
            shown: Scores.
        """
        super().__init__()
        self._shown = shown
        self._options = {"desc": name, "total": num_epochs, "initial": num_done, "unit": "epoch"}

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Show it, where output is a terminal."""
        self._bar = tqdm(disable=None, **self._options)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """One epoch further."""
        scores = logs or {}
        words = {name: f"{scores[name]:.3f}" for name in self._shown}
        self._bar.set_postfix(words | {"images/s": f"{scores['images_per_second']:.0f}"})
        self._bar.update()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Leave it as it is."""
        self._bar.close()
