"""Skin tone around the lesion, estimated from pixels: the individual typology angle (ITA).

ITA is arctan((L* - 50) / b*) in degrees; the higher, the lighter the skin. It is defined for a colorimeter. A
photograph gives an estimate that light, camera and white balance confound: it describes images, not people.

Sources: A. Chardon, I. Cretois, C. Hourseau, "Skin colour typology and suntanning pathways", Int. J. Cosmet.
Sci. 13, 191 (1991); the six classes: S. Del Bino, F. Bernerd, Br. J. Dermatol. 169 Suppl. 3, 33 (2013).
"""

import math
from functools import cache

import cv2
import numpy as np

from melanoma.config.data import Inspect

STEP = 2  # every second pixel of every second row is enough for a median
GAP_FRACTION = 1 / 16  # of the side, left out around lesion and frame: pigment fades, and so does the frame


def estimate(
    working: np.ndarray,
    *,
    unusable: np.ndarray,
    border: np.ndarray,
    lesion: np.ndarray | None,
    settings: Inspect,
) -> dict[str, object]:
    """`ita_degrees` of the median skin colour, or nan and the reason as `ita_problem`.

    Args:
        working: The picture, `(side, side, 3)`, uint8, RGB.
        unusable: Hair and ink, `(side, side)`, bool.
        border: Dark frame or vignette, `(side, side)`, bool; a margin around it is left out too.
        lesion: The lesion, `(side, side)`, bool. If it is unknown (None, or nowhere), a disc in the middle
            is left out.
        settings: Section `inspect` of params.yaml.
    """
    side = len(working)
    outside = _grown(border, side) | unusable
    if lesion is None or not lesion.any():
        outside |= _disc(side, settings.skin_centre_radius)
    else:
        outside |= _grown(lesion, side)
    skin = ~outside
    if np.count_nonzero(skin) < settings.skin_min_fraction * skin.size:
        return {"ita_degrees": math.nan, "ita_problem": "too little skin around the lesion"}
    thinned = working[::STEP, ::STEP][skin[::STEP, ::STEP]].astype(np.float32) / 255
    lightness, _, yellow = _median(cv2.cvtColor(thinned[None], cv2.COLOR_RGB2LAB)[0])
    if yellow <= 0:
        return {"ita_degrees": math.nan, "ita_problem": "the skin has no yellow (b* at most 0)"}
    return {"ita_degrees": angle_degrees(lightness, yellow)}


def angle_degrees(lightness: float, yellow: float) -> float:
    """The angle of a colour by its L* and b*; b* is above 0."""
    return math.degrees(math.atan((lightness - 50) / yellow))


def _median(colours: np.ndarray) -> list[float]:
    """Median of each column; np.median would import much in each worker."""
    middle = len(colours) // 2
    return [float(np.partition(column, middle)[middle]) for column in colours.T]


def _grown(where: np.ndarray, side: int) -> np.ndarray:
    """`where` and a margin around it."""
    if not where.any():
        return where
    reach = round(side * GAP_FRACTION)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(where.astype(np.uint8), disc).astype(bool)


@cache
def _disc(side: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.asarray(np.hypot(y, x) <= radius * side)
