"""Names of metrics in MLflow: one name for each notion.

The part before the last slash is the section below which MLflow's pages show a metric. Ends of intervals are
only in the JSON reports.

* `epoch/…`: learning curves, one step per epoch.
* `selection/…`: scores of a network on the hold-out at its kept epoch, before calibration. The hyperparameter
  search uses these.
* `seeds/…`: mean and spread of these scores over all seeds of a model; the mean selects baseline or
  tuned.
* `validation/…` and `test/…`: calibrated probabilities, at the operating point.
* `audit/…`: AUC on changed test images and of references without the lesion's form.
* `search/…`, `data/…`, `machine/…`: hyperparameter search, counts of images, memory.
* `crossvalidation/…`: test images of one fold; in the parent run means over the folds.
* `unseen/…` and `resplit/…`, only in the study: a source left out of training, and other splits.
"""

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

EPOCH, SELECTION, SEEDS = "epoch", "selection", "seeds"
VALIDATION, TEST, AUDIT = "validation", "test", "audit"
SEARCH, DATA, MACHINE = "search", "data", "machine"
UNSEEN, RESPLIT, CROSSVALIDATION = "unseen", "resplit", "crossvalidation"
TRAINING_SCORES = ("loss", "accuracy")  # as Keras names them
OF_HOLDOUT = "val_"  # Keras's prefix of scores on images that are not trained on
TRAINING_LOSS = f"{EPOCH}/train_loss"


def in_section(section: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """`{"auc_roc": 0.9}` in the section `test` becomes `{"test/auc_roc": 0.9}`."""
    return {f"{section}/{name}": value for name, value in values.items()}


def of_epoch(scores: Mapping[str, Value]) -> dict[str, Value]:
    """Scores of one epoch: `loss` becomes `epoch/train_loss`, `val_loss` becomes `epoch/holdout_loss`."""
    return in_section(EPOCH, {_plain(name): value for name, value in scores.items()})


def of_selection(scores: Mapping[str, Value]) -> dict[str, Value]:
    """Scores of the kept epoch on the hold-out: `val_auc_roc` becomes `selection/auc_roc`."""
    return in_section(SELECTION, {name.removeprefix(OF_HOLDOUT): value for name, value in scores.items()})


def of_seeds(statistics: Mapping[str, Value]) -> dict[str, Value]:
    """Statistics of these scores over seeds: `val_auc_roc_mean` becomes `seeds/auc_roc_mean`."""
    return in_section(SEEDS, {name.removeprefix(OF_HOLDOUT): value for name, value in statistics.items()})


def _plain(name: str) -> str:
    """Keras's name of a score with the split in words; durations and rates keep their names."""
    if name in TRAINING_SCORES:
        return f"train_{name}"
    is_of_holdout = name.startswith(OF_HOLDOUT)
    return f"holdout_{name.removeprefix(OF_HOLDOUT)}" if is_of_holdout else name
