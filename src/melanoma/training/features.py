"""Pooled features of a network whose stages are all frozen, computed once for each image.

Frozen stages give the same output for the same pixels in every epoch, at nearly all of the cost (VGG-16: 16
images a second on two cores). Their features are computed for some warped views of each training
image and for each unwarped held-out image; then only the end of the network is trained on them, in seconds.

Features are cached in a file beside the checkpoints, one file for each set of weights, with a key of pixels
and warp: later trainings reuse them, also with other seeds, depths, splits and cohorts. A view is determined
by the pixels of its image and its number, so that all trainings share views. An image takes 3 kB a view; the
file may be deleted at any time.
"""

import hashlib
import logging
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from melanoma import files, fingerprint
from melanoma.config.training import Augment
from melanoma.data import augment
from melanoma.data.packed import Part
from melanoma.models import applications, efficientnet_lite, head, stages, vgg16
from melanoma.models.builders import build_model
from melanoma.training import scores
from melanoma.training.recipe import Arrays, Recipe

FOLDER = "features"  # below train.checkpoints
MAX_BYTES = 2**31  # of a file; a larger one would be reduced to the features of this training
DTYPE = np.float16  # features are standardized: rounding changes the third to fourth digit
BATCH_SIZE = 32
IMAGES_A_SAVE = 256  # an interruption loses at most so many


@dataclass(frozen=True)
class Features:
    """Inputs that replace the images when only the end of a network is trained.

    Attributes:
        end: The trained part, which shares its layers with the network.
        views: Shape `(num_views, num_training_images, num_features)`, float16.
        holdout: Held-out images with features `(num_images, num_features)`, float32, in place of pixels; None
            where no images are held out.
    """

    end: keras.Model
    views: np.ndarray
    holdout: Part | None


@dataclass(frozen=True)
class _View:
    """One image, warped or not, as an input of the network."""

    key: bytes
    part: Part
    position: int
    warp: np.ndarray | None
    colour: np.ndarray | None

    def pixels(self) -> np.ndarray:
        """Shape `(size, size, 3)`, uint8."""
        image = self.part.take(slice(self.position, self.position + 1))[0]
        return image if self.warp is None else augment.augment_image(image, self.warp, self.colour)


def compute(network: keras.Model, arrays: Arrays, recipe: Recipe) -> Features | None:
    """The features of all images of a training.

    Args:
        network: Network from `build_model`.
        arrays: Training and held-out images.
        recipe: Training recipe: frozen stages, number of views and amounts of augmentation.

    Returns:
        None unless all but the end of the network is frozen.
    """
    if not _is_frozen(network, recipe):
        return None
    num_views = recipe.model.num_views
    amounts = augment.scale(recipe.augment, recipe.hyperparameters.augment_strength)
    views = _draw_views(arrays.train, amounts, num_views=num_views)
    plain = [] if arrays.holdout is None else _as_they_are(arrays.holdout)
    found = _look_up([*views, *plain], network, recipe)
    return Features(
        head.cut(network)[1],
        found[: len(views)].reshape(num_views, len(arrays.train), -1),
        None if arrays.holdout is None else _in_place_of_pixels(found[len(views) :], arrays.holdout),
    )


def predict(network: keras.Model, part: Part, recipe: Recipe) -> np.ndarray:
    """Probabilities `(n,)` as from `scores.predict`; with all stages frozen they come from cached features.

    Args:
        network: Trained network.
        part: Any images.
        recipe: Recipe that the network was trained with.
    """
    if not _is_frozen(network, recipe):
        return scores.predict(network, part)
    found = _look_up(_as_they_are(part), network, recipe)
    return scores.predict(head.cut(network)[1], _in_place_of_pixels(found, part))


def of_frozen_blocks(part: Part, recipe: Recipe) -> np.ndarray:
    """Features of unwarped images, `(num_images, num_features)`, float32, from the weights before training.

    Args:
        part: Any images.
        recipe: Recipe that starts from given weights, whether or not it freezes them.
    """
    network = build_model(recipe.hyperparameters, recipe.model, image_size=part.image_size)
    return _look_up(_as_they_are(part), network, recipe).astype(np.float32)


def _is_frozen(network: keras.Model, recipe: Recipe) -> bool:
    hyperparameters = recipe.hyperparameters
    is_for_good = hyperparameters.unfreeze_epoch is None
    return is_for_good and stages.is_frozen(network, hyperparameters.frozen_stages or 0)


def _in_place_of_pixels(found: np.ndarray, part: Part) -> Part:
    pixels, rows = found.astype(np.float32), np.arange(len(found))
    return replace(part, images=pixels, rows=rows, images_digest=None)


def _as_they_are(part: Part) -> list[_View]:
    return [_View(key, part, position, None, None) for position, key in enumerate(_image_keys(part))]


def _image_keys(part: Part) -> list[bytes]:
    return [
        hashlib.blake2b(part.take(slice(position, position + 1)).tobytes(), digest_size=16).digest()
        for position in range(len(part))
    ]


def _draw_views(part: Part, amounts: Augment, *, num_views: int) -> list[_View]:
    """The first view of all images, then the second view of all images, and so on."""
    views, size = [], part.image_size
    keys = _image_keys(part)
    for number in range(num_views):
        draws = np.stack([_draws(key, number) for key in keys])
        warps, colours = augment.draw_warps(draws, amounts, size=size), augment.draw_colours(draws, amounts)
        for position, key in enumerate(keys):
            colour = None if colours is None else colours[position]
            words = key + warps[position].tobytes() + (b"" if colour is None else colour.tobytes())
            named = hashlib.blake2b(words, digest_size=16).digest()
            views.append(_View(named, part, position, warps[position], colour))
    return views


def _draws(key: bytes, number: int) -> np.ndarray:
    generator = np.random.default_rng([2, number, int.from_bytes(key[:8], "big")])
    return augment.draw_uniform(generator, 1)[0]


def _body_digest(body: keras.Model) -> str:
    """Digest of everything that determines the features of a given image and warp."""
    digest = hashlib.sha256()
    for module in (applications, efficientnet_lite, vgg16, augment):
        digest.update(fingerprint.syntax_digest(Path(str(module.__file__))).encode())
    policy = body.layers[-1].dtype_policy.name
    for words in (keras.backend.backend(), keras.__version__, policy, body.output_shape):
        digest.update(str(words).encode())
    for array in body.get_weights():
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def _look_up(views: list[_View], network: keras.Model, recipe: Recipe) -> np.ndarray:
    """Features `(num_views, n)`, float16; missing ones are computed. All depths of VGG-16 share one pass."""
    body, mine = head.cut(network)[0], slice(None)
    if recipe.hyperparameters.family == "vgg16":
        size, weights = network.input_shape[1], str(recipe.hyperparameters.weights)
        body = vgg16.build_features(image_size=size, weights=weights)
        mine = vgg16.features_of(recipe.hyperparameters.depth or 0)
    path = Path(recipe.train.checkpoints) / FOLDER / f"{_body_digest(body)}.npz"
    known = _complete(body, views, path)
    return np.stack([known[view.key][mine] for view in views])


def _complete(body: keras.Model, views: list[_View], path: Path) -> dict[bytes, np.ndarray]:
    """Features by key; those of `views` that the file lacks are computed and added to it."""
    num_features = int(body.output_shape[1])
    known = _load(path, num_features)
    missing = [*{view.key: view for view in views if view.key not in known}.values()]
    if not missing:
        return known
    if (len(known) + len(missing)) * num_features * DTYPE().nbytes > MAX_BYTES:
        wanted = {view.key for view in views}
        known = {key: value for key, value in known.items() if key in wanted}
    with tqdm(total=len(missing), desc="features", unit="image", disable=None) as bar:
        for start in range(0, len(missing), IMAGES_A_SAVE):
            for first in range(start, min(start + IMAGES_A_SAVE, len(missing)), BATCH_SIZE):
                batch = missing[first : first + BATCH_SIZE]
                given = body.predict_on_batch(np.stack([view.pixels() for view in batch])).astype(DTYPE)
                known |= {view.key: value for view, value in zip(batch, given, strict=True)}
                bar.update(len(batch))
            _save(known, path)
    return known


def _load(path: Path, num_features: int) -> dict[bytes, np.ndarray]:
    """Features in the file, by key; none if it is damaged."""
    if not path.exists():
        return {}
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            keys, values = stored["keys"], stored["features"]
        if values.shape != (len(keys), num_features) or not np.isfinite(values).all():
            raise ValueError(f"expected {len(keys)} rows of finite numbers, got shape {values.shape}")
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        logging.getLogger(__name__).warning(
            "%s cannot be read (%s). Features are computed again.", path, error
        )
        return {}
    return {key.tobytes(): value for key, value in zip(keys, values, strict=True)}


def _save(known: dict[bytes, np.ndarray], path: Path) -> None:
    keys = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), -1)
    with files.atomic_file(path) as unfinished, unfinished.open("wb") as stream:
        np.savez(stream, keys=keys, features=np.stack(list(known.values())))
