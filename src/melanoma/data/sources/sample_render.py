"""Draws one synthetic dermoscopy picture: a pigmented lesion, the skin around it and the lens.

The label acts only through four traits (asymmetry, border irregularity, patchiness, texture atypia), whose
distributions overlap. Size, skin, light, hair, ruler and lens do not depend on it. Pigment is ranked before
it is coloured, so the label changes where a shade is and hardly its amount: a model that only counts colours
should do badly.

This is no model of real skin, and results on these pictures say nothing about patients. Angles are in
radians. Lengths are in lesion units: the canvas spans [-1, 1] in both directions, whatever its size in
pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from melanoma.data import artefacts
from melanoma.data.checks.skin_tone import angle_degrees

# RGB in [0, 1] under white light, palest to darkest: six steps like the Fitzpatrick scale, chosen by eye.
SKIN_TONES = np.array(
    [
        (0.93, 0.80, 0.75),
        (0.90, 0.74, 0.66),
        (0.85, 0.67, 0.55),
        (0.76, 0.57, 0.44),
        (0.62, 0.44, 0.33),
        (0.47, 0.32, 0.24),
    ]
)
VEIL_COLOUR = np.array((0.50, 0.54, 0.60), dtype=np.float32)
# Mean disorder behind all four traits of benign lesions, in standard deviations. With 1.8 for malignant ones
# (`sample.malignant_disorder`), somebody who knew the disorder would reach an AUC of 0.99; a small network
# stays below, and spares enough people to be promoted (`promote.min_specificity_at_threshold`).
BENIGN_DISORDER = -1.8


@dataclass(frozen=True)
class Traits:
    """The traits that depend on the label, each in [0, 1]; 0 is orderly, 1 disorderly."""

    asymmetry: float
    irregularity: float
    patchiness: float
    atypia: float


@dataclass(frozen=True)
class LesionLayers:
    """A lesion without its surroundings, on a square canvas; all arrays are float32 in [0, 1].

    Attributes:
        tint: Factor of the skin colour, shape `(size, size, 3)`, 1 outside of the lesion.
        veil: Opacity of the whitish blue veil, shape `(size, size)`.
        cover: Coverage by the lesion, shape `(size, size)`, at least 0.5 inside its border.
    """

    tint: np.ndarray
    veil: np.ndarray
    cover: np.ndarray


def draw_traits(rng: np.random.Generator, *, mean_disorder: float) -> Traits:
    """Draw the traits of a lesion; those of the two labels overlap.

    Args:
        rng: Decides.
        mean_disorder: Of lesions with this label, in standard deviations between lesions.
    """
    disorder = rng.normal(mean_disorder, 1)
    return Traits(*_sigmoid(1.5 * (disorder + rng.normal(0, 0.5, size=4))))


def render_lesion(rng: np.random.Generator, traits: Traits, *, size: int) -> LesionLayers:
    """Draw a lesion from its traits, on a canvas of `size` pixels; `rng` decides everything else."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    theta = np.arctan2(y, x)
    border = _border_radius(rng, traits, theta)
    reach = np.hypot(x, y) / border  # 0 in the middle, 1 on the border
    mean_softness = rng.uniform(0.06, 0.14) * (1 - 0.5 * traits.irregularity)
    softness = mean_softness * np.exp(0.5 * _noise(rng, size, cells=4))
    cover = _sigmoid((1 - reach) / softness * 1.5)

    layout = _mix(_orderly_layout(rng, reach), _patchy_layout(rng, x, y), traits.patchiness)
    texture = (0.18 + 0.55 * traits.atypia) * _texture(rng, traits, x, y)
    streaks = 1.8 * traits.atypia**2 * _streaks(rng, theta, reach)
    clouds = 0.45 * _noise(rng, size, cells=13)
    pigment = _ranked(layout + texture + streaks + clouds, inside=cover >= 0.5)
    hue = _hue(rng, traits, inside=cover >= 0.5)
    tint = _tint(rng, traits, pigment, hue, cover)
    return LesionLayers(tint=tint, veil=_veil(rng, traits, reach, cover), cover=cover)


def render_view(
    rng: np.random.Generator, lesion: LesionLayers, *, skin_tone: float, image_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Photograph a lesion once: framing, skin, hair, ruler, light, lens and camera.

    Args:
        rng: Decides everything that differs between two photographs of a lesion.
        lesion: From `render_lesion`.
        skin_tone: Position on `SKIN_TONES`, in [0, 5]; fractions are interpolated.
        image_size: Height and width of the photograph in pixels.

    Returns:
        The picture, shape `(image_size, image_size, 3)`, uint8, red first, and the lesion mask,
        shape `(image_size, image_size)`, uint8, 0 or 255.
    """
    placed = _place(rng, lesion, image_size)
    picture = _skin(rng, skin_tone, image_size) * placed.tint
    veil = placed.veil[..., None]
    picture = picture * (1 - veil) + VEIL_COLOUR * veil
    for draw, chance in ((artefacts.add_hair, 0.45), (_add_gel, 0.25), (artefacts.add_ruler, 0.3)):
        if rng.random() < chance:
            picture = draw(rng, picture)
    picture = _light(rng, picture)
    if rng.random() < 0.45:
        picture = artefacts.darken_corners(rng, picture)
    picture = _expose(rng, picture)
    mask = np.where(placed.cover >= 0.5, 255, 0).astype(np.uint8)
    return picture, mask


# ---- lesion ----------------------------------------------------------------------------------


def _border_radius(rng: np.random.Generator, traits: Traits, theta: np.ndarray) -> np.ndarray:
    """Distance of the border from the middle by direction; the area does not depend on traits."""
    angles = np.linspace(-np.pi, np.pi, 721)
    stretch = rng.uniform(0.0, 0.2)
    shape = 1 + stretch * np.cos(2 * angles + rng.uniform(0, 2 * np.pi))
    for waves in (1, 2, 3, 4):
        height = (0.015 + 0.13 * traits.asymmetry) / np.sqrt(waves) * rng.normal(0, 0.8)
        shape += height * np.cos(waves * angles + rng.uniform(0, 2 * np.pi))
    outline = np.interp(theta, angles, np.clip(shape, 0.4, None)).astype(np.float32)
    size = len(theta)
    coast = _noise(rng, size, cells=9) + 0.7 * _noise(rng, size, cells=22)
    outline *= np.clip(1 + (0.015 + 0.11 * traits.irregularity) * coast, 0.4, 1.7)
    return outline * (rng.uniform(0.36, 0.62) / np.sqrt(np.mean(outline**2)))


def _orderly_layout(rng: np.random.Generator, reach: np.ndarray) -> np.ndarray:
    """Shade by distance from the border alone: dark middle, dark rim or a ring."""
    profile = rng.choice(3)
    if profile == 0:
        layout = -reach
    elif profile == 1:
        layout = reach
    else:
        layout = -np.abs(reach - rng.uniform(0.35, 0.7))
    return _standard(layout + 0.12 * _noise(rng, len(reach), cells=5))


def _patchy_layout(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Shade in blots with hard edges, heavier on one side."""
    size = len(x)
    direction = rng.uniform(0, 2 * np.pi)
    slope = x * np.cos(direction) + y * np.sin(direction)
    field = _noise(rng, size, cells=int(rng.integers(6, 10))) + 1.2 * slope
    blots = np.sum([_sigmoid((field - level) * 9) for level in (-0.7, 0.1, 0.8)], axis=0)
    return _standard(blots)


def _texture(rng: np.random.Generator, traits: Traits, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Network, globules or clouds; atypia makes them coarser, bent and uneven."""
    size = len(x)
    kind = rng.choice(3, p=(0.5, 0.3, 0.2))
    if kind == 0:
        pattern = _network(rng, traits, x, y)
    elif kind == 1:
        pattern = _globules(rng, traits, size)
    else:
        pattern = _noise(rng, size, cells=int(44 - 30 * traits.atypia))
    unevenness = 1 + traits.atypia * _noise(rng, size, cells=5)
    return pattern * np.clip(unevenness, 0.1, 2.2)


def _network(rng: np.random.Generator, traits: Traits, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Dark lines around pale holes: three crossing waves on a bent plane."""
    size = len(x)
    num_lines = rng.uniform(22, 28) - 11 * traits.atypia
    bend = (0.5 + 0.4 * traits.atypia) / num_lines
    bent_x = x + bend * _noise(rng, size, cells=12)
    bent_y = y + bend * _noise(rng, size, cells=12)
    turn = rng.uniform(0, np.pi)
    waves = [
        np.cos(np.pi * num_lines * (bent_x * np.cos(a) + bent_y * np.sin(a)))
        for a in (turn, turn + np.pi / 3, turn + 2 * np.pi / 3)
    ]
    return _standard(-np.tanh(sum(waves)))


def _globules(rng: np.random.Generator, traits: Traits, size: int) -> np.ndarray:
    """Round dark clods; atypia makes them fewer, larger and more varied."""
    num_globules = int(900 - 650 * traits.atypia)
    places = rng.uniform(0, size, size=(num_globules, 2))
    spread = 0.15 + 0.45 * traits.atypia
    typical = size * (0.008 + 0.014 * traits.atypia)
    canvas = np.zeros((size, size), dtype=np.float32)
    radii = typical * np.exp(rng.normal(0, spread, num_globules))
    for (column, row), radius in zip(places, radii, strict=True):
        cv2.circle(canvas, (int(column), int(row)), max(1, round(radius)), 1.0, -1, cv2.LINE_AA)
    return _standard(cv2.GaussianBlur(canvas, (0, 0), size / 256))


def _streaks(rng: np.random.Generator, theta: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Dark spokes near the border on one side of the lesion."""
    bent = theta + 0.08 * _noise(rng, len(theta), cells=8)
    side = np.clip(np.cos(theta - rng.uniform(-np.pi, np.pi)) + 0.2, 0, None)
    spokes = np.clip(np.cos(int(rng.integers(20, 34)) * bent), -0.2, None)
    return spokes * side * np.exp(-(((reach - 0.9) / 0.2) ** 2))


def _ranked(field: np.ndarray, *, inside: np.ndarray) -> np.ndarray:
    """Replace values by their rank in [0, 1] inside the lesion, so that all lesions have one histogram."""
    share = np.linspace(0, 1, 101)
    return np.interp(field, np.quantile(field[inside], share), share).astype(np.float32)


def _hue(rng: np.random.Generator, traits: Traits, *, inside: np.ndarray) -> np.ndarray:
    """Redder (0) or bluer (1) brown; finely mixed in an orderly lesion, in blots otherwise."""
    size = len(inside)
    blots = _standard(_sigmoid(4 * _noise(rng, size, cells=6)))
    return _ranked(_mix(_noise(rng, size, cells=36), blots, traits.patchiness), inside=inside)


def _tint(
    rng: np.random.Generator,
    traits: Traits,
    pigment: np.ndarray,
    hue: np.ndarray,
    cover: np.ndarray,
) -> np.ndarray:
    """Colour of the pigment by absorption of light: tan where thin, almost black where thick."""
    thin = rng.uniform(0.2, 0.45)
    thick = thin + rng.uniform(0.8, 1.5) + 0.2 * traits.patchiness
    density = thin + (thick - thin) * pigment ** rng.uniform(0.9, 1.6)
    absorption = np.array((0.62, 1.0, 1.32)) * rng.uniform(0.92, 1.08, size=3)
    variety = rng.uniform(0.2, 0.5) * (1 + 0.5 * traits.patchiness)
    spread = 1 + variety * (hue[..., None] - 0.5) * np.array((0.8, -0.1, -0.6))
    return np.exp(-(density * cover)[..., None] * absorption * spread).astype(np.float32)


def _veil(rng: np.random.Generator, traits: Traits, reach: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Whitish blue film: soft and central in an orderly lesion, a sharp patch otherwise."""
    if rng.random() > 0.06 + 0.28 * traits.patchiness:
        return np.zeros_like(cover)
    centre = _standard(-np.clip(reach, 0, 1.5))
    place = _mix(centre, _noise(rng, len(cover), cells=5), traits.patchiness)
    return rng.uniform(0.25, 0.5) * _sigmoid((place - 0.8) * (3 + 4 * traits.patchiness)) * cover


# ---- photograph ------------------------------------------------------------------------------


def _place(rng: np.random.Generator, lesion: LesionLayers, image_size: int) -> LesionLayers:
    """Turn, scale and shift the lesion into the frame."""
    size = len(lesion.cover)
    scale = image_size / size * rng.uniform(0.85, 1.15)
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(0, 360), scale)
    matrix[:, 2] += image_size / 2 - size / 2 + rng.uniform(-0.08, 0.08, size=2) * image_size

    def warp(layer: np.ndarray, outside: float) -> np.ndarray:
        frame, border = (image_size, image_size), [outside] * 3
        return cv2.warpAffine(layer, matrix, frame, flags=cv2.INTER_AREA, borderValue=border)

    return LesionLayers(warp(lesion.tint, 1.0), warp(lesion.veil, 0.0), warp(lesion.cover, 0.0))


def _skin(rng: np.random.Generator, skin_tone: float, size: int) -> np.ndarray:
    """Bare skin: a tone, blotches of blood, fine furrows."""
    tone = _tone(skin_tone)
    blotches = rng.uniform(0.01, 0.035) * _noise(rng, size, cells=6)
    depth = rng.uniform(0.006, 0.02)
    furrows = depth * (_noise(rng, size, cells=size // 4) + _noise(rng, size, cells=size // 8))
    redness = np.array((0.2, 1.0, 0.9))
    return (tone * (1 + blotches[..., None] * redness + furrows[..., None])).astype(np.float32)


def _tone(skin_tone: float) -> np.ndarray:
    """The colour at a position on `SKIN_TONES`, `(3,)`, 0 to 1."""
    steps = np.arange(len(SKIN_TONES))
    return np.array([np.interp(skin_tone, steps, SKIN_TONES[:, c]) for c in range(3)])


def ita_degrees(skin_tone: float) -> float:
    """Individual typology angle of the colour at a position on `SKIN_TONES`, before light and camera."""
    colour = _tone(skin_tone).astype(np.float32)
    lightness, _, yellow = cv2.cvtColor(colour[None, None], cv2.COLOR_RGB2LAB)[0, 0]
    return angle_degrees(float(lightness), float(yellow))


def _add_gel(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Bubbles in the contact gel: pale rings with a bright spot."""
    size = len(picture)
    shine = np.zeros((size, size), dtype=np.float32)
    for _ in range(int(rng.integers(1, 7))):
        centre = rng.integers(0, size, size=2)
        radius = max(3, int(size * rng.uniform(0.01, 0.05)))
        cv2.circle(shine, centre.tolist(), radius, 0.35, 1, cv2.LINE_AA)
        spot = (centre - radius // 2).tolist()
        cv2.circle(shine, spot, max(1, radius // 4), 0.8, -1, cv2.LINE_AA)
    shine = cv2.GaussianBlur(shine, (0, 0), 0.7)[..., None]
    return picture + (1 - picture) * shine


def _light(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Brightness, a gradient across the frame, and a colour cast."""
    axis = np.linspace(-0.5, 0.5, len(picture))
    angle = rng.uniform(0, 2 * np.pi)
    slope = axis[None, :] * np.cos(angle) + axis[:, None] * np.sin(angle)
    gain = rng.uniform(0.82, 1.06) * (1 + rng.uniform(0, 0.25) * slope)
    cast = 1 + rng.normal(0, 0.03, size=3)
    return picture * gain[..., None] * cast


def _expose(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Slight lack of focus, sensor noise and the step to 8 bits."""
    focused = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.35, 0.9))
    grain = rng.normal(0, 1, size=picture.shape[:2])[..., None] * rng.uniform(0.003, 0.014)
    return np.round(np.clip(focused + grain, 0, 1) * 255).astype(np.uint8)


# ---- fields ----------------------------------------------------------------------------------


def _noise(rng: np.random.Generator, size: int, *, cells: int) -> np.ndarray:
    """Smooth noise with mean 0 and standard deviation 1; `cells` bumps from edge to edge."""
    coarse = rng.normal(size=(cells + 3, cells + 3)).astype(np.float32)
    return _standard(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))


def _standard(field: np.ndarray) -> np.ndarray:
    """Shift and scale a field to mean 0 and standard deviation 1."""
    return (field - field.mean()) / (field.std() + 1e-6)


def _mix(orderly: np.ndarray, patchy: np.ndarray, share: float) -> np.ndarray:
    """Blend two standard fields so that the result has standard deviation 1 for every share."""
    return np.sqrt(1 - share) * orderly + np.sqrt(share) * patchy


def _sigmoid(field: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(field, -30, 30)))
