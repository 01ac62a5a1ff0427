"""Scores on the hold-out by number of views, the evidence by which `serve.num_views` is chosen."""

import keras
import numpy as np

from melanoma.data.packed import Part
from melanoma.scoring import views
from melanoma.training import scores

MEASURED = ("auc_roc", "specificity_at_95_sensitivity")  # of `scores.OBJECTIVES`
BATCH_SIZE = 8  # images, with all views of each


def measure(model: keras.Model, holdout: Part) -> dict[str, dict[str, float]]:
    """`MEASURED` by number of views, as a JSON object: `{"1": {"auc_roc": 0.8, …}, "4": …, "8": …}`.

    Args:
        model: Network, as it was trained.
        holdout: Images that it has not learned from; never of the test set.
    """
    starts = range(0, len(holdout), BATCH_SIZE)
    batches = [_by_view(model, holdout.take(slice(start, start + BATCH_SIZE))) for start in starts]
    outputs = np.concatenate(batches).astype(np.float64)
    found = {}
    for num_views in views.NUM_VIEWS:
        probability = _probability(outputs[:, :num_views], holdout)
        found[str(num_views)] = {
            name: scores.OBJECTIVES[name](holdout.targets, probability) for name in MEASURED
        }
    return found


def _by_view(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Outputs for all views, `(n, num_views, num_outputs)`."""
    turned = views.views(images, views.NUM_VIEWS[-1])
    outputs = model.predict_on_batch(turned.reshape(-1, *images.shape[1:]))
    return np.asarray(outputs).reshape(*turned.shape[:2], -1)


def _probability(outputs: np.ndarray, holdout: Part) -> np.ndarray:
    """The score `(n,)` over views of outputs `(n, num_views, num_outputs)`."""
    if outputs.shape[-1] == 1:
        return views.mean_score(outputs[..., 0])
    return scores.probability_of_positive(views.mean_classes(outputs), holdout)
