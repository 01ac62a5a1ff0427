"""Scores of a network on the hold-out after an epoch, and the choice of the best epoch.

Scores that compare trials and seeds do not depend on class balancing. Loss and accuracy do: where training
draws both classes equally often, both have the same weight here. Otherwise the loss would be lowest while the
network still predicts the majority class, negative, everywhere.
"""

from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, average_precision_score, log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_sample_weight

from melanoma.data.packed import Part

CLINICAL_SENSITIVITY = 0.95  # in `specificity_at_95_sensitivity`

Score = Callable[[np.ndarray, np.ndarray], float]


def specificity_at_95_sensitivity(targets: np.ndarray, probability: np.ndarray) -> float:
    """Highest specificity over all thresholds whose sensitivity is at least 0.95.

    Args:
        targets: Shape `(n,)`, 1 = positive, 0 = negative.
        probability: Shape `(n,)`; called positive at or above a threshold.

    Returns:
        In 0..1; nan without positive or without negative images.

    Example:
        >>> specificity_at_95_sensitivity(np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.5, 0.3]))
        0.5
    """
    if not _has_both_classes(targets):
        return float("nan")
    positive = np.sort(probability[targets == 1])[::-1]
    sensitivity = np.arange(1, len(positive) + 1) / len(positive)  # at each positive image's score
    threshold = positive[np.argmax(sensitivity >= CLINICAL_SENSITIVITY)]
    return float(np.mean(probability[targets == 0] < threshold))


def auc_roc(targets: np.ndarray, probability: np.ndarray) -> float:
    """Area under the ROC curve; nan without positive or without negative images."""
    return float(roc_auc_score(targets, probability)) if _has_both_classes(targets) else float("nan")


def average_precision(targets: np.ndarray, probability: np.ndarray) -> float:
    """Precision averaged over recall, a step function; nan without positive or without negative images."""
    defined = _has_both_classes(targets)
    return float(average_precision_score(targets, probability)) if defined else float("nan")


def _has_both_classes(targets: np.ndarray) -> bool:
    return len(np.unique(targets)) == 2


OBJECTIVES: dict[str, Score] = {
    "auc_roc": auc_roc,
    "average_precision": average_precision,
    "specificity_at_95_sensitivity": specificity_at_95_sensitivity,
}


def predict(model: keras.Model, part: Part, *, batch_size: int = 64) -> np.ndarray:
    """Probabilities of positive, `(n,)`, float64, for the images of a part."""
    return probability_of_positive(predict_all(model, part, batch_size=batch_size), part)


def probability_of_positive(outputs: np.ndarray, part: Part) -> np.ndarray:
    """The only output, or the sum over the positive classes of a part; `(n, num_outputs)` to `(n,)`."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, list(part.positive_classes)].sum(1)


def predict_all(model: keras.Model, part: Part, *, batch_size: int = 64) -> np.ndarray:
    """All outputs of a network, `(n, 1)` or `(n, num_classes)`, float64, for the images of a part.

    Batch by batch, because `keras.Model.predict` sets up a data pipeline at every call (57 ms).
    """
    starts = range(0, len(part), batch_size)
    batches = (part.take(slice(start, start + batch_size)) for start in starts)
    return np.concatenate([model.predict_on_batch(batch) for batch in batches]).astype(np.float64)


def score_holdout(targets: np.ndarray, probability: np.ndarray, *, sampling_power: float) -> dict[str, float]:
    """`val_loss` (the plain log loss), `val_accuracy` at 0.5 and `val_<objective>` of each objective.

    Args:
        targets: Shape `(n,)`, 1 = positive, 0 = negative.
        probability: Shape `(n,)`, finite.
        sampling_power: Weighs the classes in loss and accuracy as training draws them, see `data.sampling`:
            with 1 both count the same.
    """
    weights = compute_sample_weight("balanced", targets) ** sampling_power
    return {
        "val_loss": float(log_loss(targets, probability, sample_weight=weights, labels=[0, 1])),
        "val_accuracy": float(accuracy_score(targets, probability >= 0.5, sample_weight=weights)),
        **{f"val_{name}": score(targets, probability) for name, score in OBJECTIVES.items()},
    }


def best_epoch(history: pd.DataFrame, monitor: str) -> pd.Series:
    """The row of `history` with the best `monitor`, the first of equal ones; undefined scores rank last.

    Args:
        history: One row per epoch, not empty.
        monitor: Column to compare: the lowest `val_loss` is best, else the highest score.
    """
    sign = 1 if monitor == "val_loss" else -1
    losses = (sign * history[monitor].to_numpy(np.float64)).tolist()
    return history.iloc[int(np.argmin([np.inf if np.isnan(loss) else loss for loss in losses]))]


def num_epochs_since_best(history: pd.DataFrame, monitor: str) -> int:
    """Number of epochs since the best one."""
    return int(history["epoch"].iloc[-1] - best_epoch(history, monitor)["epoch"])
