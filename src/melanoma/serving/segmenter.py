"""Find and cut out the lesion with an exported U-Net; the stage `pack` and the server share this code."""

from pathlib import Path

import numpy as np

from melanoma.data.crops import MIN_PROBABILITY, Box, Crop, find_box
from melanoma.serving.sessions import open_session


class Segmenter:
    """A loaded U-Net; safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        """Load the network.

        Raises:
            TrackingError: The file is missing or is not a network.
        """
        self._session = open_session(path)
        (self._input,) = self._session.get_inputs()

    @property
    def image_size(self) -> int:
        """Side in pixels of the square pictures that the network takes."""
        return int(self._input.shape[1])

    def find_lesion(self, picture: np.ndarray) -> np.ndarray:
        """Which pixels of a picture `(size, size, 3)`, uint8, are lesion: shape `(size, size)`, bool.

        One picture at a time: in batches of another size sums are rounded otherwise, and a pixel at the limit
        could fall to the other side on the server.
        """
        (probability,) = self._session.run(None, {self._input.name: picture[None]})
        return np.asarray(probability[0, ..., 0] >= MIN_PROBABILITY)

    def find_box(self, picture: np.ndarray, *, min_lesion_fraction: float) -> Box | None:
        """The lesion's box; None where nothing is found."""
        return find_box(self.find_lesion(picture), min_lesion_fraction=min_lesion_fraction)


class Cutter:
    """Cuts pictures as the stages `segment` and `pack` do together."""

    def __init__(self, segmenter: Segmenter, crop: Crop) -> None:
        """Set network and crop."""
        self.segmenter, self.crop = segmenter, crop

    def find_box(self, picture: np.ndarray) -> Box | None:
        """The lesion's box in a picture as `images.load_square` gives it to the segmenter's network."""
        return self.segmenter.find_box(picture, min_lesion_fraction=self.crop.min_lesion_fraction)
