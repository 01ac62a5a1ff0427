"""Fit a U-Net to masks, warped like their images; the epoch with the best Dice is kept."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from melanoma import fingerprint
from melanoma.config.training import Augment, Segment
from melanoma.data import augment, crops
from melanoma.data.augment import augment_image
from melanoma.data.crops import MIN_PROBABILITY
from melanoma.data.lesions import Pairs, overlap
from melanoma.errors import DivergenceError, TrainingError
from melanoma.segmentation import unet
from melanoma.training import checkpoints, epochs
from melanoma.training.epochs import Epoch, Sampling

BEST = "val_dice"
PREDICTED_AT_ONCE = 32
# These do not affect the network, or only the report.
NOT_THE_PROBLEM = {"train", "num_bootstrap_draws", "min_lesion_fraction"}


@dataclass(frozen=True)
class Fitted:
    """A fitted U-Net.

    Attributes:
        model: With the weights of its best epoch.
        history: One row per epoch: `epoch` (from 1), `loss` (on augmented training images), `val_loss`,
            `val_dice` (mean over images), `duration_seconds`.
    """

    model: keras.Model
    history: pd.DataFrame


def train(
    train_pairs: Pairs,
    holdout: Pairs,
    settings: Segment,
    amounts: Augment,
    *,
    checkpoint: Path,
    on_epoch: Callable[[int, Mapping[str, float]], None],
) -> Fitted:
    """Build and fit a U-Net.

    Args:
        train_pairs: Training images, each with a mask.
        holdout: Other training images, each with a mask, that choose the epoch.
        settings: `params.yaml: segment`.
        amounts: `params.yaml: augment`.
        checkpoint: File that keeps the state after every epoch; an interrupted training resumes from it.
        on_epoch: Called with the number of each epoch and its row of the history.

    Raises:
        TrainingError: A part has no masks, or the loss is no longer a number.
    """
    for name, part in (("training split", train_pairs), ("hold-out", holdout)):
        if not len(part):
            raise TrainingError(
                f"The {name} has no image with a usable mask, which the U-Net needs. Add masks, or "
                "set segment.train: false."
            )
    problem = problem_digest(train_pairs, holdout, settings, amounts)
    keras.backend.clear_session()
    keras.utils.set_random_seed(settings.seed)
    model = unet.build(image_size=settings.image_size, depth=settings.depth, filters=settings.filters)
    model.compile(keras.optimizers.Adam(settings.learning_rate), loss)
    model.optimizer.build(model.trainable_variables)
    state = _resume(model, checkpoint, problem)
    sampling = Sampling(
        np.zeros(len(train_pairs)),
        image_size=settings.image_size,
        sampling_power=0,
        amounts=amounts,
        seed=settings.seed,
    )
    with tqdm(
        total=settings.num_epochs, initial=len(state.history), desc="U-Net", unit="epoch", disable=None
    ) as bar:
        while not _is_over(state.history, settings):
            epoch = len(state.history)
            row = _train_epoch(model, train_pairs, sampling.draw(epoch), settings)
            row |= _score(model, holdout)
            state = _after_epoch(state, model, row)
            checkpoints.save(state, checkpoint)
            on_epoch(epoch + 1, row)
            bar.set_postfix({name: f"{row[name]:.3f}" for name in ("loss", BEST)})
            bar.update()
    checkpoints.assign(model.weights, state.best)
    return Fitted(model, state.history)


def loss(lesions: keras.KerasTensor, probability: keras.KerasTensor) -> keras.KerasTensor:
    """Mean cross-entropy of pixels plus 1 - soft Dice of each image; lower is better.

    Args:
        lesions: Shape `(batch, height, width, 1)`, 0 or 1.
        probability: Shape of `lesions`, in 0..1.

    Returns:
        Shape `(batch,)`.
    """
    lesions = keras.ops.cast(lesions, probability.dtype)
    entropy = keras.ops.mean(keras.losses.binary_crossentropy(lesions, probability), axis=(1, 2))
    common = keras.ops.sum(lesions * probability, axis=(1, 2, 3))
    both = keras.ops.sum(lesions + probability, axis=(1, 2, 3))
    return entropy + 1 - (2 * common + 1) / (both + 1)


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Probabilities `(num_images, size, size)`, float32, that pixels are lesion."""
    starts = range(0, len(images), PREDICTED_AT_ONCE)
    parts = [model.predict_on_batch(images[start : start + PREDICTED_AT_ONCE]) for start in starts]
    return np.concatenate(parts)[..., 0]


def best_epoch(history: pd.DataFrame) -> pd.Series:
    """The row with the highest Dice on the hold-out, the first of equals."""
    return history.iloc[int(history[BEST].to_numpy().argmax())]


def problem_digest(train_pairs: Pairs, holdout: Pairs, settings: Segment, amounts: Augment) -> str:
    """Hex digest of everything that determines the trained network."""
    package = Path(__file__).parent
    modules = [*sorted(package.glob("*.py")), *(Path(str(one.__file__)) for one in (augment, crops, epochs))]
    problem = {
        "settings": settings.model_dump(exclude=NOT_THE_PROBLEM),
        "augment": amounts.model_dump(),
        "code": [fingerprint.syntax_digest(path) for path in modules],
        "backend": [keras.backend.backend(), keras.__version__],
    }
    digest = hashlib.sha256(json.dumps(problem, sort_keys=True).encode())
    for part in (train_pairs, holdout):
        digest.update(part.images.tobytes())
        digest.update(part.lesions.tobytes())
    return digest.hexdigest()


def _resume(model: keras.Model, checkpoint: Path, problem: str) -> checkpoints.State:
    """Give the model the state of an interrupted training; that state, or the first one."""
    found = checkpoints.load(checkpoint, problem)
    if found is None:
        return checkpoints.State(problem, pd.DataFrame(), [], [], checkpoints.values(model.weights))
    checkpoints.assign(model.variables, found.network)
    checkpoints.assign(model.optimizer.variables, found.optimizer)
    return found


def _is_over(history: pd.DataFrame, settings: Segment) -> bool:
    if history.empty:
        return False
    waited = len(history) - int(best_epoch(history)["epoch"])
    return len(history) >= settings.num_epochs or waited >= settings.patience


def _train_epoch(model: keras.Model, pairs: Pairs, epoch: Epoch, settings: Segment) -> dict[str, float]:
    started, losses = time.perf_counter(), []
    for images, lesions in _batches(pairs, epoch, settings.batch_size):
        # Keras returns the mean of the epoch so far, as one of its metrics.
        losses.append(float(model.train_on_batch(images, lesions)))
    model.reset_metrics()
    if not np.isfinite(losses[-1]):
        raise DivergenceError(
            f"The training loss of the U-Net is {losses[-1]}: training has diverged. Lower "
            "segment.learning_rate."
        )
    return {"loss": losses[-1], "duration_seconds": time.perf_counter() - started}


def _batches(pairs: Pairs, epoch: Epoch, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(epoch), batch_size):
        drawn = epoch[start : start + batch_size]
        colours = [None] * len(drawn) if drawn.colours is None else drawn.colours
        pictures = map(augment_image, pairs.images[drawn.positions], drawn.warps, colours)
        lesions = map(warp_lesion, pairs.lesions[drawn.positions], drawn.warps)
        yield np.stack(list(pictures)), np.stack(list(lesions))[..., None].astype(np.float32)


def warp_lesion(lesion: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """A mask `(size, size)`, bool, warped as `augment.augment_image` warps its picture."""
    size = (lesion.shape[1], lesion.shape[0])
    return cv2.warpAffine(
        lesion.astype(np.uint8), warp, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    ).astype(bool)


def _score(model: keras.Model, pairs: Pairs) -> dict[str, float]:
    probability = predict(model, pairs.images)
    losses = keras.ops.convert_to_numpy(
        loss(pairs.lesions[..., None], keras.ops.convert_to_tensor(probability[..., None]))
    )
    dice = overlap(probability >= MIN_PROBABILITY, pairs.lesions)["dice"]
    return {"val_loss": float(losses.mean()), BEST: float(dice.mean())}


def _after_epoch(state: checkpoints.State, model: keras.Model, row: Mapping[str, float]) -> checkpoints.State:
    row = {"epoch": len(state.history) + 1, **row}
    history = pd.concat([state.history, pd.DataFrame([row])], ignore_index=True)
    is_best = best_epoch(history)["epoch"] == row["epoch"]
    return checkpoints.State(
        state.problem,
        history,
        checkpoints.values(model.variables),
        checkpoints.values(model.optimizer.variables),
        checkpoints.values(model.weights) if is_best else state.best,
    )
