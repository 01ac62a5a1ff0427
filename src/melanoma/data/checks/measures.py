"""Measures of a picture: sharpness, exposure, colour, dark borders, hairs, ink and skin tone.

All are taken at one working size, so that resolutions are comparable. They are estimates: threads of dark
pigment may count as hair, blue pigment as ink.
"""

import math

import cv2
import numpy as np

from melanoma.config.data import Inspect
from melanoma.data.checks import skin_tone

NUM_DIRECTIONS = 8  # of straight pieces of hair


def measure(
    working: np.ndarray, grey: np.ndarray, settings: Inspect, *, lesion: np.ndarray | None = None
) -> dict[str, object]:
    """All measures, by names of `facts.FACT_DTYPES`.

    Args:
        working: The picture at working size, `(side, side, 3)`, uint8, RGB.
        grey: The same in grey, `(side, side)`, uint8.
        settings: Thresholds, section `inspect` of params.yaml.
        lesion: The lesion, `(side, side)`, bool; None if it is unknown.
    """
    border = dark_border(grey, settings)
    mean, deviation = (float(value.item()) for value in cv2.meanStdDev(grey))
    hsv = cv2.cvtColor(working, cv2.COLOR_RGB2HSV)
    hair, marks = hairs(grey, settings), ink(working, hsv, settings)
    clipped = hsv[..., 2] >= settings.clipping_level * 255
    return {
        "sharpness": sharpness(grey),
        "brightness": mean / 255,
        "contrast": deviation / 255,
        "saturation": float(cv2.mean(hsv)[1]) / 255,
        "clipped_fraction": _fraction(clipped),
        "dark_border_fraction": _fraction(border),
        "hair_fraction": _fraction(hair & ~border),
        "ink_fraction": _fraction(marks),
        **skin_tone.estimate(working, unusable=hair | marks, border=border, lesion=lesion, settings=settings),
    }


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian; 0 for a plain picture.

    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    # 16 bits are enough for a Laplacian of bytes, and faster than floats.
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation.item() ** 2)


def dark_border(grey: np.ndarray, settings: Inspect) -> np.ndarray:
    """Mask of dark areas that touch the edge: the view of the dermatoscope, or a black frame.

    Parts no wider than a hair are removed first, because hairs would connect dark lesions to the edge.

    Returns:
        Shape of `grey`, bool.
    """
    width = settings.hair_max_width
    dark = (grey <= settings.dark_border_max_brightness * 255).astype(np.uint8)
    framed = cv2.copyMakeBorder(dark, width, width, width, width, cv2.BORDER_CONSTANT, value=1)
    wide = cv2.morphologyEx(framed, cv2.MORPH_OPEN, np.ones((width, width), np.uint8))
    cv2.floodFill(wide, None, (0, 0), 2)  # from the frame inwards
    return np.asarray(wide[width:-width, width:-width] == 2)


def hairs(grey: np.ndarray, settings: Inspect) -> np.ndarray:
    """Mask of thin, dark, straight pieces: hairs, ruler marks, lines of a pen.

    The black-hat transform keeps what is darker than its surroundings and thinner than the kernel. Only
    straight pieces of the minimum length are kept, which removes grain and most pigment networks.
    Idea: Lee et al., DullRazor, Computers in Biology and Medicine 27, 1997.

    Returns:
        Shape of `grey`, bool.
    """
    width = settings.hair_max_width
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    depth = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, disc)
    thin = (depth >= settings.hair_min_depth * 255).astype(np.uint8)
    straight = np.zeros_like(thin)
    for line in lines(settings.hair_min_length):
        straight |= cv2.morphologyEx(thin, cv2.MORPH_OPEN, line)
    return straight.astype(bool)


def lines(length: int) -> list[np.ndarray]:
    """Kernels with a line of `length` pixels through the middle, one per direction."""
    reach = length // 2
    kernels = []
    for number in range(NUM_DIRECTIONS):
        angle = math.pi * number / NUM_DIRECTIONS
        x, y = round(reach * math.cos(angle)), round(reach * math.sin(angle))
        kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
        kernels.append(cv2.line(kernel, (reach - x, reach - y), (reach + x, reach + y), 1))
    return kernels


def ink(working: np.ndarray, hsv: np.ndarray, settings: Inspect) -> np.ndarray:
    """Mask of colours that skin does not have, green to violet: pen marks, coloured plasters.

    They must also be far from the median colour of the picture: the blue cast of a camera is no ink.

    Args:
        working: Shape `(side, side, 3)`, uint8, RGB.
        hsv: The same as OpenCV's HSV: hue in half degrees, saturation and value in 0..255.
        settings: Thresholds, section `inspect` of params.yaml.

    Returns:
        Shape `(side, side)`, bool.
    """
    lowest = (
        settings.ink_min_hue_degrees / 2,
        settings.ink_min_saturation * 255,
        settings.ink_min_brightness * 255,
    )
    marked = cv2.inRange(hsv, lowest, (settings.ink_max_hue_degrees / 2, 255, 255)) > 0
    if marked.any():
        ordered = np.sort(_chroma(working[::4, ::4].reshape(-1, 3)), axis=0)
        middle = ordered[len(ordered) // 2]  # np.median would import much in each worker
        distance = np.linalg.norm(_chroma(working[marked]) - middle, axis=1)
        marked[marked] = distance >= settings.ink_min_colour_distance
    return marked


def _chroma(colours: np.ndarray) -> np.ndarray:
    """Cr and Cb, `(n, 2)`, of RGB bytes `(n, 3)`."""
    chroma: np.ndarray = cv2.cvtColor(colours[None], cv2.COLOR_RGB2YCrCb)[0, :, 1:]
    return chroma.astype(np.float32)


def _fraction(where: np.ndarray) -> float:
    return float(np.count_nonzero(where) / where.size)
