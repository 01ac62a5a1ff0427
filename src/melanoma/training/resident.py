"""Training images in device memory; the compiled step takes, warps and colours them there.

Draws are those of the host, and pixels differ by rounding only. All training images must fit into device
memory: 67.5 kB each at 150 pixels.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from melanoma.training.epochs import Epoch


class ResidentImages(keras.layers.Layer):
    """Rows of an array on the device, augmented.

    Input shape:
        Positions `(b,)`, int32; warps `(b, 2, 3)` from places of the new picture to places of the old one;
        colours `(b, 3, 4)`, or none.

    Output shape:
        `(b, size, size, 3)`, uint8.
    """

    def __init__(self, images: np.ndarray) -> None:
        """Copy `images` (n, size, size, 3), uint8, to the device."""
        super().__init__(name="resident_images", dtype="float32")  # 16 bits are too few for places
        self.images = keras.Variable(images, dtype="uint8", trainable=False, name="images")

    def call(self, positions: Any, warps: Any, colours: Any = None) -> Any:
        """Take, warp, colour; rounded after each, as on the host."""
        pixels = ops.round(warp(ops.cast(self._take(positions), "float32"), warps))
        if colours is not None:
            pixels = ops.round(ops.clip(colour(pixels, colours), 0, 255))
        return ops.cast(pixels, "uint8")

    def _take(self, positions: Any) -> Any:
        if keras.backend.backend() == "tensorflow":
            # On a GPU TensorFlow takes rows of uint8 from variables only: `ops.take` would bring the whole
            # array to the host in each step. With int32 it counts bytes in 32 bits: 2 GiB and no more.
            return self.images.value.sparse_read(ops.cast(positions, "int64"))
        return ops.take(self.images, positions, axis=0)


def warp(images: Any, matrices: Any) -> Any:
    """Bilinear, with borders by reflection that does not repeat the last pixel, as OpenCV does it.

    `ops.image.affine_transform` has no such reflection on TensorFlow; on JAX it multiplies matrices, which
    GPUs do with 10 bits of mantissa: not enough for places.

    Args:
        images: Shape `(b, size, size, 3)`, float32.
        matrices: Shape `(b, 2, 3)`: where in the old picture a place `(x, y, 1)` of the new one comes from.
    """
    size = images.shape[1]
    along = ops.arange(size, dtype="float32")
    across, down, origin = (matrices[:, :, column, None, None] for column in range(3))
    places = across * along[None, :] + down * along[:, None] + origin  # (b, 2, size, size)
    lower = ops.floor(places)
    left, top = lower[:, 0], lower[:, 1]
    right, bottom = (places - lower)[:, 0, :, :, None], (places - lower)[:, 1, :, :, None]

    pixels = ops.reshape(images, (-1, images.shape[3]))
    starts = ops.arange(ops.shape(images)[0], dtype="int32")[:, None, None] * (size * size)

    def at(column: Any, row: Any) -> Any:
        inside = _reflect(row, size) * size + _reflect(column, size)
        return ops.take(pixels, starts + ops.cast(inside, "int32"), axis=0)

    upper = (1 - right) * at(left, top) + right * at(left + 1, top)
    under = (1 - right) * at(left, top + 1) + right * at(left + 1, top + 1)
    return (1 - bottom) * upper + bottom * under


def _reflect(place: Any, size: int) -> Any:
    """Places outside 0..size-1 folded back: -1 to 1, size to size - 2."""
    last = size - 1
    return last - ops.abs(ops.mod(place, 2 * last) - last)


def colour(images: Any, matrices: Any) -> Any:
    """What `cv2.transform` does: each colour `(red, green, blue, 1)` times a matrix.

    Args:
        images: Shape `(b, size, size, 3)`, float32.
        matrices: Shape `(b, 3, 4)`.
    """
    matrices = matrices[:, None, None]  # (b, 1, 1, 3, 4)
    # A sum of products, not a product of matrices: see `warp`.
    return ops.sum(images[..., None, :] * matrices[..., :3], axis=-1) + matrices[..., 3]


class ResidentModel(keras.Model):
    """A network behind the images it learns from.

    Only for fitting; evaluate and save `network`, whose weights it trains.
    """

    def __init__(self, network: keras.Model, images: np.ndarray) -> None:
        """Copy `images` (n, size, size, 3), uint8, to the device."""
        super().__init__(name=network.name, dtype="float32")  # a model of 16 bits would round the warps
        self.network, self.resident = network, ResidentImages(images)

    def call(self, inputs: tuple[Any, ...], training: bool = False) -> Any:
        """Probabilities `(b, 1)` for the `instructions` of a batch."""
        return self.network(self.resident(*inputs), training=training)


def instructions(images: Epoch) -> tuple[np.ndarray, ...]:
    """Inputs of `ResidentImages` for a batch."""
    linear = np.linalg.inv(images.warps[:, :, :2])
    origin = -linear @ images.warps[:, :, 2:]
    warps = np.concatenate([linear, origin], axis=2).astype(np.float32)
    positions = images.positions.astype(np.int32)
    if images.colours is None:
        return positions, warps
    return positions, warps, images.colours.astype(np.float32)
