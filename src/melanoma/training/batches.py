"""Batches of training images, made beside the training step and reproducible from the seed alone."""

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any

import cv2
import keras
import numpy as np

from melanoma.data import augment
from melanoma.data.packed import Part
from melanoma.execution.devices import num_cores
from melanoma.training.backend import has_gpu
from melanoma.training.epochs import Epoch, Sampling
from melanoma.training.recipe import Recipe
from melanoma.training.resident import ResidentModel, instructions

BATCHES_AHEAD = 2  # for each thread: the step never waits, and memory use stays constant

Inputs = Any  # what a network takes: an array, or a tuple of arrays


def prepare(
    model: keras.Model,
    part: Part,
    recipe: Recipe,
    *,
    seed: int,
    first_epoch: int = 0,
    views: np.ndarray | None = None,
) -> tuple[keras.Model, keras.utils.PyDataset]:
    """The model to compile and fit, and the batches for it, by `params.yaml: train.input`.

    On the host, images are read from `part`, warped by threads beside the training step and handed over.
    On a device, all of them lie there and the compiled step warps them.

    Args:
        model: Network, built but not compiled.
        part: Training images of both classes.
        recipe: Training recipe.
        seed: Seed of the order of images and of augmentation.
        first_epoch: Number of epochs that were trained before. A resumed training sees what an
            uninterrupted one would have seen.
        views: Features `(num_views, num_images, n)` of the images of `part`, in its order. `model` takes them
            instead of images; they are warped already.

    Returns:
        `model`, or for a device a model around it that shares its weights (evaluate and save `model`, not
        that one); and batches that draw a new epoch whenever Keras ends one.
    """
    hyperparameters, settings = recipe.hyperparameters, recipe.train
    sampling = Sampling(
        part.targets,
        image_size=part.image_size,
        sampling_power=hyperparameters.sampling_power,
        amounts=augment.scale(recipe.augment, hyperparameters.augment_strength),
        seed=seed,
        classes=part.classes if recipe.model.target == "diagnosis" else None,
        num_classes=recipe.num_outputs(part),
    )
    is_on_device = views is None and (settings.input == "device" or (settings.input == "auto" and has_gpu()))
    read = instructions if is_on_device else partial(read_augmented, part)
    batches = Batches(
        sampling,
        read if views is None else partial(read_features, views),
        batch_size=hyperparameters.batch_size,
        num_threads=settings.num_loader_threads or num_cores(),
        first_epoch=first_epoch,
    )
    return ResidentModel(model, part.take(slice(None))) if is_on_device else model, batches


class Batches(keras.utils.PyDataset):
    """The batches of one epoch after another; a new one is drawn whenever Keras ends one.

    Fit with `shuffle=False`. Before its first epoch `fit` inspects the batches and ends that inspection as an
    epoch: it trains on epochs `first_epoch + 1, first_epoch + 2, …`, resumed or not.

    Own threads make the next batches. Those of Keras (`workers`) deliver some batches of an epoch in the next
    one, and how many is left to chance: on JAX no training could be repeated. See also keras#23283.
    """

    def __init__(
        self,
        sampling: Sampling,
        read: Callable[[Epoch], Inputs],
        *,
        batch_size: int,
        num_threads: int,
        first_epoch: int = 0,
    ) -> None:
        """Draw the first epoch.

        Args:
            sampling: Draws the images and warps of each epoch.
            read: Makes the inputs of a batch; called from several threads.
            batch_size: Images in a batch; the last batch of an epoch may be smaller.
            num_threads: Number of batches made at the same time.
            first_epoch: Number of the first epoch to draw.
        """
        super().__init__()
        self._sampling, self._read = sampling, read
        self._batch_size, self._num_ahead = batch_size, BATCHES_AHEAD * num_threads
        self._number, self._epoch = first_epoch, sampling.draw(first_epoch)
        self._pool = ThreadPoolExecutor(num_threads, "batches", initializer=_use_one_thread)
        self._coming: dict[int, Future[tuple[Inputs, np.ndarray]]] = {}
        self._lock = Lock()  # TensorFlow reads ahead in a thread of its own

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return math.ceil(len(self._epoch) / self._batch_size)

    def __getitem__(self, batch: int) -> tuple[Inputs, np.ndarray]:
        """Inputs and labels (see `Sampling.labels`) of one batch; the next ones are begun."""
        with self._lock:
            window = range(batch, min(batch + 1 + self._num_ahead, len(self)))
            self._coming = {number: self._coming.get(number) or self._begin(number) for number in window}
            wanted = self._coming.pop(batch)
        return wanted.result()

    def on_epoch_end(self) -> None:
        """Draw the next epoch; called by Keras."""
        epoch = self._sampling.draw(self._number + 1)
        with self._lock:
            self._number, self._epoch = self._number + 1, epoch
            for future in self._coming.values():
                future.cancel()
            self._coming = {}

    def _begin(self, batch: int) -> "Future[tuple[Inputs, np.ndarray]]":
        start = batch * self._batch_size
        return self._pool.submit(self._make, self._epoch[start : start + self._batch_size])

    def _make(self, images: Epoch) -> tuple[Inputs, np.ndarray]:
        return self._read(images), self._sampling.labels(images.positions)


def _use_one_thread() -> None:
    """OpenCV would split each image between its own threads, which takes longer than warping it."""
    cv2.setNumThreads(1)


def read_augmented(part: Part, images: Epoch) -> np.ndarray:
    """Images `(b, size, size, 3)`, uint8: read from `part` and warped here, on the host."""
    pixels = part.take(images.positions)
    colours = [None] * len(images) if images.colours is None else images.colours
    return np.stack(list(map(augment.augment_image, pixels, images.warps, colours)))


def read_features(views: np.ndarray, images: Epoch) -> np.ndarray:
    """Features `(b, n)`, float32: one view of each image.

    Args:
        views: Shape `(num_views, num_images, n)`.
        images: Part of an epoch; the rounds of its images choose the view, the first again after the last.
    """
    return views[images.rounds % len(views), images.positions].astype(np.float32)
