"""What copies of a picture share: a thumbnail, and perceptual hashes.

Both hardly change when a picture is resized, recompressed or darkened.
"""

import cv2
import numpy as np

THUMBNAIL_SIDE = 48  # pixels; small enough to keep, fine enough to tell lesions apart
HASHED_SIDE = 32  # pixels of the square of which frequencies are taken
HASH_SIDE = 8  # lowest frequencies in each direction: 64 bits

# Mirroring a picture changes the sign of its odd cosine frequencies.
_ODD_SIGNS = np.where(np.arange(HASH_SIDE) % 2, -1.0, 1.0).astype(np.float32)


def thumbnail(grey: np.ndarray) -> bytes:
    """The square grey picture at `THUMBNAIL_SIDE`, row by row."""
    small: np.ndarray = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return small.tobytes()


def orientations(grey: np.ndarray) -> list[np.ndarray]:
    """The 8 rotations and mirrorings of a square picture; the first is the picture itself."""
    turns = [np.rot90(grey, quarter) for quarter in range(4)]
    return turns + [np.fliplr(turn) for turn in turns]


def perceptual_hash(grey: np.ndarray) -> int:
    """The signs of low frequencies of one picture.

    The picture is shrunk to 32 x 32; the lowest 8 x 8 cosine frequencies are compared with their median.

    Args:
        grey: Shape `(side, side)`, uint8.

    Returns:
        64 bits as a number with a sign.
    """
    return _bits(_low_frequencies(grey))


def perceptual_hashes(grey: np.ndarray) -> list[int]:
    """`perceptual_hash` of each of the 8 `orientations`, from one cosine transform.

    Turning a picture by a quarter swaps the axes of its frequencies and mirrors it.
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
    without_mean = np.sort(values[1:])  # an odd number: its median is its middle
    return int(np.packbits(values > without_mean[len(without_mean) // 2]).view(">i8")[0])
