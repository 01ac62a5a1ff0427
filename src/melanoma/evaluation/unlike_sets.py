"""Which pictures are referred as unlike: damaged copies of test images, and what is no dermoscopy.

A damaged copy need not be referred: light and tint vary in practice. A photograph, noise or a plain area must
be refused or referred.
"""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import pandas as pd
from sklearn.datasets import load_sample_images

from melanoma.data.artefacts import generator_of
from melanoma.data.images import resize_square
from melanoma.data.plausibility import require_plausible
from melanoma.errors import ImageError
from melanoma.scoring.unlike import Unlike

NUM_COPIED = 100  # test images
NUM_DRAWN = 20  # pictures of noise, and of one colour
BLUR_FRACTION = 0.02  # standard deviation of the blur, of the side
TINT = np.array((0.7, 0.9, 1.3))  # factor of red, green and blue
JPEG_QUALITY = 10
Features = Callable[[np.ndarray], np.ndarray]


def _blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), BLUR_FRACTION * len(image))


def _tinted(image: np.ndarray) -> np.ndarray:
    return np.clip(image * TINT, 0, 255).astype(np.uint8)


def _compressed(image: np.ndarray) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1]


def _darkened(image: np.ndarray) -> np.ndarray:
    return image // 2


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "blurred": _blurred,
    "tinted": _tinted,
    f"JPEG quality {JPEG_QUALITY}": _compressed,
    "half the light": _darkened,
}


def strangers(size: int) -> dict[str, np.ndarray]:
    """Pictures that are no dermoscopy, by kind, each `(n, size, size, 3)`, uint8.

    Photographs are those of scikit-learn, whole and in quarters.
    """
    rng = generator_of("strangers")
    photographs = []
    for photograph in load_sample_images().images:
        height, width = (side // 2 for side in photograph.shape[:2])
        quarters = [photograph[y : y + height, x : x + width] for y in (0, height) for x in (0, width)]
        photographs += [resize_square(np.ascontiguousarray(one), size) for one in (photograph, *quarters)]
    colours = rng.integers(0, 256, (NUM_DRAWN, 1, 1, 3)).astype(np.uint8)
    return {
        "photographs": np.stack(photographs),
        "noise": rng.integers(0, 256, (NUM_DRAWN, size, size, 3)).astype(np.uint8),
        "one colour": np.broadcast_to(colours, (NUM_DRAWN, size, size, 3)).copy(),
    }


def measure(images: np.ndarray, features: Features, unlike: Unlike) -> dict[str, dict[str, Any]]:
    """What happens to unchanged images, to their damaged copies and to strangers.

    Args:
        images: Test images, shape `(n, size, size, 3)`, uint8; the first `NUM_COPIED` are copied.
        features: Function of the network from images to pooled features.
        unlike: Description of the training images.

    Returns:
        By kind: `num_images`, `refused_fraction` (by `data.plausibility`, with status 400) and
        `referred_fraction` of the others as unlike, both of all images of the kind.
    """
    copied = images[:NUM_COPIED]
    sets: Mapping[str, Any] = {
        "unchanged": copied,
        **{name: np.stack([change(image) for image in copied]) for name, change in COPIES.items()},
        **strangers(images.shape[1]),
    }
    return {name: referred(pictures, features, unlike) for name, pictures in sets.items()}


def referred(images: np.ndarray, features: Features, unlike: Unlike) -> dict[str, Any]:
    """Entry of `measure` of one kind of pictures; see there."""
    is_refused = np.array([_is_refused(image) for image in images])
    left = images[~is_refused]
    reasons = unlike.reasons(left, features(left)) if len(left) else []
    return {
        "num_images": len(images),
        "refused_fraction": float(is_refused.mean()),
        "referred_fraction": sum(reason is not None for reason in reasons) / len(images),
    }


def _is_refused(image: np.ndarray) -> bool:
    try:
        require_plausible(image)
    except ImageError:
        return True
    return False


def table(found: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """`measure` as a table for people."""
    return pd.DataFrame(
        [
            {
                "pictures": name,
                "number": entry["num_images"],
                "refused": f"{entry['refused_fraction']:.0%}",
                "referred": f"{entry['referred_fraction']:.0%}",
            }
            for name, entry in found.items()
        ]
    )
