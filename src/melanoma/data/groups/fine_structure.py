"""Correlation of the fine structure of two thumbnails, which tells copies from lesions that look alike.

Hairs, dots and the ragged border of a lesion are never the same twice. The dark blob in the middle, the dark
corners of the field of view and the colours of a scanner are. So the blob and slow changes are removed,
contrast is made equal everywhere and the rim is faded out. The rest is correlated in the best of 8
orientations and of small shifts, because two scans of one slide are never cropped alike.
"""

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

# These define the measure: after changing one, choose params.yaml: duplicates.min_correlation anew.
CONTRAST_SIGMA = 5.0  # pixels of the thumbnail over which contrast is made equal
NOISE = 3.0  # grey levels; keeps the contrast of flat pictures low, which would be noise otherwise
RIM = 6.0  # pixels from the edge of the inscribed disc inwards
MAX_SHIFT = 3  # pixels in each direction
PAIRS_AT_ONCE = 256  # held in memory together


def correlations(thumbnails: np.ndarray, rows: np.ndarray, sigma: float) -> np.ndarray:
    """Correlation of the fine structure of each pair of rows, in the best orientation and shift.

    Args:
        thumbnails: Shape `(num_images, side, side)`, uint8.
        rows: Shape `(num_pairs, 2)`.
        sigma: Sigma of the blur that is subtracted, in pixels of the thumbnail.

    Returns:
        Shape `(num_pairs,)`, float32, at most 1; 0 where a picture is flat.
    """
    reached = [np.empty(0, np.float32)]
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        one, other = rows[start : start + PAIRS_AT_ONCE].T
        reached.append(_best(_fine_structure(thumbnails[one], sigma), thumbnails[other], sigma))
    return np.concatenate(reached).clip(-1, 1)  # rounding may exceed the ends


def _best(detail: np.ndarray, others: np.ndarray, sigma: float) -> np.ndarray:
    """Best correlation of each of the `(n, side, side)` pairs over all shifts, by Fourier transform."""
    side = detail.shape[1]
    spectrum = np.conj(scipy.fft.rfft2(detail))
    near = np.r_[: MAX_SHIFT + 1, side - MAX_SHIFT : side]  # negative shifts are at the end
    best = np.full(len(detail), -1, np.float32)
    for view in _orientations(_fine_structure(others, sigma)):
        surface = scipy.fft.irfft2(spectrum * scipy.fft.rfft2(view), s=(side, side))
        np.maximum(best, surface[:, near][:, :, near].max(axis=(1, 2)), out=best)
    return best


def _orientations(stack: np.ndarray) -> list[np.ndarray]:
    turns = [np.rot90(stack, quarter, axes=(1, 2)) for quarter in range(4)]
    return turns + [turn[:, :, ::-1] for turn in turns]


def _fine_structure(thumbnails: np.ndarray, sigma: float) -> np.ndarray:
    """Shape `(n, side, side)`, float32: mean 0, norm 1 (0 where flat), nothing outside the disc."""
    grey = thumbnails.astype(np.float32)
    detail = grey - _blur(grey, sigma)
    detail /= np.sqrt(_blur(detail**2, CONTRAST_SIGMA)) + NOISE
    window = _window(grey.shape[1])
    detail = (detail - (detail * window).sum(axis=(1, 2), keepdims=True) / window.sum()) * window
    return detail / (np.linalg.norm(detail, axis=(1, 2), keepdims=True) + 1e-6)


def _blur(stack: np.ndarray, sigma: float) -> np.ndarray:
    blurred: np.ndarray = gaussian_filter(stack, sigma, axes=(1, 2), mode="mirror")
    return blurred


def _window(side: int) -> np.ndarray:
    """1 in the middle, falling to 0 at the edge of the inscribed disc."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return ((side / 2 - np.hypot(x, y)) / RIM).clip(0, 1).astype(np.float32)
