"""The way of training images into the network: `params.yaml: train.input`."""

from functools import partial

import keras
import numpy as np

from melanoma.data import augment
from melanoma.data.packed import Part
from melanoma.execution.devices import num_cores
from melanoma.training.batches import Batches, read_augmented, read_features
from melanoma.training.epochs import Sampling
from melanoma.training.recipe import Recipe
from melanoma.training.resident import ResidentModel, instructions


def prepare(
    model: keras.Model,
    part: Part,
    recipe: Recipe,
    *,
    seed: int,
    first_epoch: int = 0,
    views: np.ndarray | None = None,
) -> tuple[keras.Model, keras.utils.PyDataset]:
    """The model to compile and fit, and the epochs' batches for it.

    On the host, images are read from `part`, warped by threads beside the training step and handed over.
    On a device, all of them lie there and the compiled step warps them.

    Args:
        model: The network, built but not compiled.
        part: The images that are learnt from, of both classes.
        recipe: How.
        seed: Of the order of images and of augmentation.
        first_epoch: Number of epochs that were trained before. A run that goes on from there sees what an
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
        image_size=part.images.shape[1],
        balance_classes=settings.balance_classes,
        amounts=augment.scale(recipe.augment, hyperparameters.augment_strength),
        seed=seed,
        classes=part.classes if recipe.model.target == "diagnosis" else None,
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


def has_gpu() -> bool:
    """Whether the backend of Keras sees a GPU."""
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())
