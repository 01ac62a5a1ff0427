"""Settings of a served model: written by `export`, read by the scorer."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from melanoma.data.crops import Crop
from melanoma.errors import TrackingError
from melanoma.fingerprint import sha256_of_file
from melanoma.schema import EARLIER_POSITIVE
from melanoma.scoring.operating_point import OperatingPoint


@dataclass(frozen=True)
class Settings:
    """Settings of the scorer.

    Attributes:
        operating_point: Operating point of the network.
        run_id: Run that trained the network.
        limits: Section `serve` of params.yaml.
        is_synthetic: Whether the network was trained on synthetic images only.
        network_sha256: Hex digest of the logged network.
        crop: Crop of the images; None if they stay whole.
        num_views: Number of orientations of each image that are scored, see `scoring.views`.
        unlike_sha256: Hex digest of the logged description of the training images; None if unlike images are
            not referred.
        positive_means: What the decision `positive` means, in words.
        keep_images: Whether a server that records its answers keeps the image files, too.
    """

    operating_point: OperatingPoint
    run_id: str
    limits: Mapping[str, int]
    is_synthetic: bool
    network_sha256: str
    crop: Crop | None
    num_views: int = 1  # of older models too
    unlike_sha256: str | None = None  # of older models too
    positive_means: str = EARLIER_POSITIVE  # of older models
    keep_images: bool = False  # of older models too

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `read` reads it back."""
        point = self.operating_point.to_dict()
        return asdict(self) | {"operating_point": point, "limits": dict(self.limits)}

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """The content of `settings.json`."""
        content = json.loads(path.read_text(encoding="utf-8"))
        point = OperatingPoint.from_dict(content["operating_point"])
        crop = Crop.from_dict(content.get("crop"))  # absent in older models
        return cls(**(content | {"operating_point": point, "crop": crop}))


def require_untouched(path: Path, sha256: str, *, what: str) -> None:
    """Refuse a file that is not the one that was logged.

    Raises:
        TrackingError: The file has another digest.
    """
    found = sha256_of_file(path)
    if found != sha256:
        raise TrackingError(
            f"The {what} of this model was changed or damaged after it was logged: expected sha256 "
            f"{sha256}, found {found} in {path}. Restore the model from a backup of the artifact store, or "
            "log it again."
        )
