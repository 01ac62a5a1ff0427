import io
import sys

import pytest

from melanoma.training.progress import Progress

SCORES = {"loss": 0.69314, "val_auc_roc": 0.75, "val_loss": 0.5, "images_per_second": 251.7}


class Terminal(io.StringIO):
    """Takes what is written, and says that a person looks at it."""

    def isatty(self) -> bool:
        return True


def show(stream, monkeypatch) -> str:
    """What a bar over ten epochs, four of them done before, shows after one more."""
    monkeypatch.setattr(sys, "stderr", stream)
    bar = Progress("tuned seed 2", num_epochs=10, num_done=4, shown=("loss", "val_auc_roc"))
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
