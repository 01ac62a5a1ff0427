"""Ways to train with Keras, as contestants: `python -m tests.benchmarks.keras_contestant '{"ways": ...}'`.

Ways: `ours` (packed array, balanced, warped; `ours_mixed` and so on with a switch turned), `train` (the
whole seam, with scores and the best weights kept), three roofs (the same network on an array at hand, neither
drawn nor warped: fed as numpy, as tf.data of tensors, or by row number from an array that lies with the
weights), and `folder` and `cached_folder` (see `plain_keras`). A turn is one epoch.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from melanoma import config
from melanoma.data.packed import Part
from melanoma.models.builders import build_model
from melanoma.training import backend, batches, compilation, fit
from melanoma.training.callbacks import StopAtNan
from melanoma.training.recipe import Arrays, Recipe
from melanoma.training.resident import ResidentImages
from tests.benchmarks.contestants import ROOT, Turn, serve

SEED = 1
SWITCHES: dict[str, dict[str, object]] = {
    "ours_mixed": {"mixed_precision": True},
    "ours_host": {"input": "host"},
}
Fit = tuple[keras.Model, dict[str, Any]]  # the compiled model and what `fit` is called with


def main() -> None:
    """Warm up, then train an epoch in the way that is asked for, whenever told to."""
    task = json.loads(sys.argv[1])
    turns = {way: _turn(way, task) for way in task["ways"]}
    for turn in turns.values():
        for _ in range(task["num_warmups"]):
            turn()
    serve(turns, backend.describe())


def _turn(way: str, task: dict[str, Any]) -> Turn:
    """Sets the model of a way up; a turn trains it for an epoch."""
    recipe = _recipe(way, task.get("section", "baseline"))
    if way == "train":
        return _seam_turn(task, recipe)
    keras.utils.set_random_seed(SEED)
    with compilation.precision(recipe):
        network = build_model(recipe.hyperparameters, recipe.model, image_size=task["image_size"])
        model, fed = WAYS[way](network, task, recipe)
        compilation.compile_model(model, recipe, num_epochs=recipe.train.num_epochs, steps_per_epoch=1)
    clock = _Clock()
    callbacks = [clock, StopAtNan()] if way.startswith("ours") else [clock]
    num_steps = task.get("num_steps")

    def turn() -> dict[str, Any]:
        model.fit(**fed, epochs=1, steps_per_epoch=num_steps, shuffle=False, verbose=0, callbacks=callbacks)
        return {
            "images_per_second": task["num_images"] / clock.seconds,
            "anonymous_mib": _anonymous_mib(),
        }

    return turn


def _seam_turn(task: dict[str, Any], recipe: Recipe) -> Turn:
    """A turn is a whole training of two epochs, of which the second counts."""
    part = _part(task)
    quarter = Part(part.images, part.rows[::4], part.targets[::4], image_ids=part.image_ids[::4])
    arrays = Arrays(part, quarter)

    def turn() -> dict[str, Any]:
        trained = fit.train(arrays, recipe, num_epochs=2, seed=SEED)
        return {"images_per_second": float(trained.history["images_per_second"].iloc[-1])}

    return turn


class _Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Times an epoch, with the start of its data pipeline and without what `fit` sets up before."""

    seconds = float("nan")

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seconds = time.perf_counter() - self._start


def _recipe(way: str, section: str) -> Recipe:
    """The committed one of `baseline` or `backbone`, all augmentation, with the switch that the way names."""
    params = config.load(ROOT / "params.yaml")
    train = params.train.model_copy(update=SWITCHES.get(way, {}))
    hyperparameters = getattr(params, section).model_copy(update={"weights": None})  # as fast as trained ones
    return Recipe.of(hyperparameters, params.model_copy(update={"train": train}))


def _part(task: dict[str, Any]) -> Part:
    """Every fifth image counts as malignant: how long training takes does not depend on it."""
    images = np.load(task["array"], mmap_mode="r")
    rows = np.arange(len(images))
    return Part(images, rows, (rows % 5 == 0).astype(np.float32), image_ids=rows.astype(str))


# ---- the ways --------------------------------------------------------------------------------


def _ours(network: keras.Model, task: dict[str, Any], recipe: Recipe) -> Fit:
    model, batched = batches.prepare(network, _part(task), recipe, seed=SEED)
    return model, {"x": batched}


def _roof_numpy(network: keras.Model, task: dict[str, Any], recipe: Recipe) -> Fit:
    part = _part(task)
    images, batch_size = part.take(slice(None)), recipe.hyperparameters.batch_size
    return network, {"x": images, "y": part.targets, "batch_size": batch_size}


def _roof_tensors(network: keras.Model, task: dict[str, Any], recipe: Recipe) -> Fit:
    import tensorflow as tf  # type: ignore[import-untyped]

    part = _part(task)
    tensors = tf.data.Dataset.from_tensor_slices((part.take(slice(None)), part.targets))
    batches = tensors.batch(recipe.hyperparameters.batch_size).cache().prefetch(tf.data.AUTOTUNE)
    return network, {"x": batches}


def _roof_resident(network: keras.Model, task: dict[str, Any], recipe: Recipe) -> Fit:
    part = _part(task)
    row = keras.Input((), dtype="int32", name="row")
    model = keras.Model(row, network(_Images(part.take(slice(None)))(row)))
    rows, batch_size = part.rows.astype(np.int32), recipe.hyperparameters.batch_size
    return model, {"x": rows, "y": part.targets, "batch_size": batch_size}


class _Images(ResidentImages):
    """Looks images up and leaves them as they are."""

    def call(self, positions: Any) -> Any:  # type: ignore[override]
        return self._take(positions)


def _folder(network: keras.Model, task: dict[str, Any], recipe: Recipe, *, is_cached: bool = False) -> Fit:
    from tests.benchmarks import plain_keras

    batches = plain_keras.folder_dataset(
        Path(task["folder"]),
        recipe.augment,
        image_size=task["image_size"],
        batch_size=recipe.hyperparameters.batch_size,
        is_cached=is_cached,
    )
    images = keras.Input(network.input_shape[1:])  # float32, as this dataset yields them
    return keras.Sequential([images, *network.layers[1:]]), {"x": batches}


WAYS: dict[str, Callable[[keras.Model, dict[str, Any], Recipe], Fit]] = {
    "ours": _ours,
    "ours_mixed": _ours,
    "ours_host": _ours,
    "roof_numpy": _roof_numpy,
    "roof_tensors": _roof_tensors,
    "roof_resident": _roof_resident,
    "folder": _folder,
    "cached_folder": partial(_folder, is_cached=True),
}


def _anonymous_mib() -> float:
    """Memory of its own; pages of mapped files are the system's cache and can be given back."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return int(status.read_text(encoding="ascii").split("RssAnon:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
