"""Sheets of single images: the most confident errors of a model, and occlusion maps.

They show images that may not be passed on, so they stay in the run and in DVC and are not committed.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from melanoma.data.packed import Part
from melanoma.evaluation.figures import new_figure
from melanoma.scoring.occlusion import occlusion_map, overlay
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE

NUM_COLUMNS = 4
NUM_STEPS = 8  # covers along each side of an occlusion map
Score = Callable[[np.ndarray], np.ndarray]  # images `(n, size, size, 3)` uint8 to scores `(n,)`
TRUTHS = {0: NEGATIVE, 1: POSITIVE}


def most_confident_errors(rows: pd.DataFrame, *, threshold: float, num: int) -> np.ndarray:
    """Positions of the misclassified images, those farthest from the threshold first.

    Args:
        rows: Columns `target` and `probability`.
        threshold: Threshold of the operating point.
        num: Maximum number of positions.
    """
    probability = rows["probability"].to_numpy()
    is_wrong = (probability >= threshold) != (rows["target"].to_numpy() == 1)
    # Distance relative to the side: 0 at the threshold, 1 at the end. The sides are not equally wide.
    room = np.where(probability >= threshold, 1 - threshold, threshold)
    farness = np.abs(probability - threshold) / np.maximum(room, 1e-12)
    order = np.argsort(-farness, kind="stable")
    return order[is_wrong[order]][:num]


def fixed_choice(rows: pd.DataFrame, *, num: int) -> np.ndarray:
    """Positions of images chosen by the hash of their ids, independent of any model, half of each class.

    Args:
        rows: Columns `image_id` and `target`.
        num: Maximum number of positions; fewer if a class is too small.
    """
    hashed = np.array([hashlib.sha256(name.encode()).hexdigest() for name in rows["image_id"]])
    order = np.argsort(hashed)
    is_malignant = rows["target"].to_numpy()[order] == 1
    return np.r_[order[is_malignant][: num - num // 2], order[~is_malignant][: num // 2]]


def image_sheet(images: np.ndarray, captions: Sequence[str], *, title: str, note: str) -> Figure:
    """Images in rows of four, each with its caption; without images, a note.

    Args:
        images: Shape `(num_images, height, width, 3)`, uint8.
        captions: One caption per image.
        title: Title of the sheet.
        note: Origin of the images.
    """
    num_rows = max(1, -(-len(images) // NUM_COLUMNS))
    figure = new_figure(title, note, width=8.4, height=0.9 + 2.5 * num_rows)
    panels = np.atleast_1d(figure.subplots(num_rows, NUM_COLUMNS)).ravel()
    for axes in panels:
        axes.set_axis_off()
    if len(images) == 0:
        panels[0].text(0, 0.5, "no images", fontsize=10)
    pictures = zip(images, captions, strict=True)
    for axes, (image, caption) in zip(panels, pictures, strict=False):  # the last row may have empty panels
        _show(axes, image, caption)
    return figure


def _show(axes: Axes, image: np.ndarray, caption: str) -> None:
    axes.imshow(image)
    axes.set_title(caption, fontsize=7)


def error_sheet(
    rows: pd.DataFrame, part: Part, *, threshold: float, num: int, title: str, note: str
) -> Figure:
    """The most confident errors of a model, with ids, truth and probability.

    Args:
        rows: Columns `image_id`, `target`, `probability`.
        part: Images, looked up by image_id.
        threshold: Threshold of the operating point.
        num: Maximum number of images.
        title: Title of the sheet.
        note: Origin of the images.
    """
    chosen = most_confident_errors(rows, threshold=threshold, num=num)
    images = part.pictures(rows["image_id"].iloc[chosen])
    return image_sheet(images, _captions(rows, chosen), title=title, note=note)


def explanation_sheet(
    rows: pd.DataFrame, part: Part, score: Score, *, num: int, title: str, note: str
) -> Figure:
    """A fixed choice of images, each beside its occlusion map.

    Args:
        rows: Columns `image_id`, `target`, `probability`.
        part: Images, looked up by image_id.
        score: Function of the network from images to scores.
        num: Maximum number of images.
        title: Title of the sheet.
        note: Origin of the images.
    """
    chosen = fixed_choice(rows, num=num)
    images, captions = part.pictures(rows["image_id"].iloc[chosen]), _captions(rows, chosen)
    shown, texts = [], []
    for image, caption in zip(images, captions, strict=True):
        shown += [image, overlay(image, occlusion_map(image, score, num_steps=NUM_STEPS))]
        texts += [caption, "red: covering it lowers the score"]
    return image_sheet(np.array(shown), texts, title=title, note=note)


def _captions(rows: pd.DataFrame, positions: np.ndarray) -> list[str]:
    shown = rows.iloc[positions]
    columns = (shown["image_id"].astype(str), shown["target"].map(TRUTHS), shown["probability"])
    return [
        f"{image_id}\n{truth}, probability {probability:.3f}"
        for image_id, truth, probability in zip(*columns, strict=True)
    ]
