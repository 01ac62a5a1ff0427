"""Thumbnails and perceptual hashes, which survive resizing, recompression and darkening of a picture."""

import cv2
import numpy as np

THUMBNAIL_SIDE = 48  # pixels; small enough to store, large enough to tell lesions apart
HASHED_SIDE = 32  # pixels of the square that is transformed
HASH_SIDE = 8  # lowest frequencies in each direction: 64 bits

# Mirroring a picture changes the sign of its odd cosine frequencies.
_ODD_SIGNS = np.where(np.arange(HASH_SIDE) % 2, -1.0, 1.0).astype(np.float32)


def thumbnail(grey: np.ndarray) -> bytes:
    """The bytes of a square grey picture at `THUMBNAIL_SIDE`, row by row."""
    small: np.ndarray = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return small.tobytes()


def orientations(grey: np.ndarray) -> list[np.ndarray]:
    """The 8 rotations and reflections of a square picture; the first is the picture itself."""
    turns = [np.rot90(grey, quarter) for quarter in range(4)]
    return turns + [np.fliplr(turn) for turn in turns]


def perceptual_hash(grey: np.ndarray) -> int:
    """Perceptual hash of a picture from its low frequencies.

    The picture is shrunk to 32 x 32; the lowest 8 x 8 cosine frequencies are compared with their median.

    Args:
        grey: Shape `(side, side)`, uint8.

    Returns:
        64 bits as a signed integer.
    """
    return _bits(_low_frequencies(grey))


def perceptual_hashes(grey: np.ndarray) -> list[int]:
    """`perceptual_hash` of each of the 8 `orientations`, from one cosine transform.

    A quarter turn swaps the axes of the frequencies and reflects the picture.
    """
    upright = _low_frequencies(grey)
    quarter = upright.T * _ODD_SIGNS[:, None]
    turns = [upright, quarter, upright * np.outer(_ODD_SIGNS, _ODD_SIGNS), upright.T * _ODD_SIGNS]
    return [_bits(turn) for turn in turns] + [_bits(turn * _ODD_SIGNS) for turn in turns]


def _low_frequencies(grey: np.ndarray) -> np.ndarray:
    small = cv2.resize(
        np.ascontiguousarray(grey), (HASHED_SIDE, HASHED_SIDE), interpolation=cv2.INTER_AREA
    ).astype(np.float32)
    frequencies: np.ndarray = cv2.dct(small)[:HASH_SIDE, :HASH_SIDE]
    return frequencies


def _bits(frequencies: np.ndarray) -> int:
    values = frequencies.ravel()
    without_mean = np.sort(values[1:])  # an odd number of values: the median is the middle one
    return int(np.packbits(values > without_mean[len(without_mean) // 2]).view(">i8")[0])
