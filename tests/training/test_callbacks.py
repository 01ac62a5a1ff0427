import io
import sys

import keras
import pytest

from melanoma.errors import TrainingError
from melanoma.training.callbacks import ProgressBar, StopAtNan

SCORES = {"loss": 0.69314, "val_auc_roc": 0.75, "val_loss": 0.5, "images_per_second": 251.7}


class Terminal(io.StringIO):
    """Takes what is written, and says that a person looks at it."""

    def isatty(self) -> bool:
        return True


def show(stream, monkeypatch) -> str:
    """What a bar over ten epochs, four of them done before, shows after one more."""
    monkeypatch.setattr(sys, "stderr", stream)
    bar = ProgressBar("tuned seed 2", num_epochs=10, num_done=4, shown=("loss", "val_auc_roc"))
    bar.on_train_begin()
    bar.on_epoch_end(4, SCORES)
    bar.on_train_end()
    return stream.getvalue()


@pytest.mark.parametrize(
    "words", ["tuned seed 2", "loss=0.693", "val_auc_roc=0.750", "images/s=252", "5/10", "<"]
)
def test_the_bar_tells_scores_speed_place_and_time_left(words, monkeypatch):
    text = show(Terminal(), monkeypatch)
    assert words in text
    assert "val_loss" not in text


def test_where_nobody_looks_there_is_no_bar(monkeypatch):
    assert show(io.StringIO(), monkeypatch) == ""


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_place_rate_and_what_to_do(loss):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.5), "binary_crossentropy")
    guard = StopAtNan()
    guard.set_model(model)
    guard.on_epoch_begin(2)
    guard.on_train_batch_end(0, {"loss": 0.7})
    with pytest.raises(
        TrainingError, match=rf"loss is {loss} in epoch 3, batch 6, at a learning rate of 0.5.*Lower"
    ):
        guard.on_train_batch_end(5, {"loss": loss})
