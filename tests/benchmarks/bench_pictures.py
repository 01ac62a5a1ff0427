"""The pictures that `bench_train` measures on: real ones, or drawn ones where those are not there."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from melanoma.data import images
from melanoma.data.sources import ph2
from melanoma.fingerprint import sha256_of_file
from melanoma.schema import TEST, TRAIN, VALIDATION
from tests.benchmarks.contestants import ROOT
from tests.data.pictures import textured, write

SPLIT_OF_PLACE = (TRAIN, TRAIN, TRAIN, VALIDATION, TEST)
MELANOMA_CODE = "2"  # of PH2's clinical diagnosis


def real_data() -> Path | None:
    """The folder of real images, where there is one."""
    folder = (ROOT / os.environ.get("MELANOMA_REAL_DATA", "../shared/data")).resolve()
    return folder if folder.is_dir() else None


def jpegs(dataset: str, folder: Path, *, num_images: int, drawn_side: int) -> tuple[str, list[Path]]:
    """What they are, and at most `num_images` JPEG files.

    Args:
        dataset: `isic` (256 px), `isic_originals` (as the camera took them).
        folder: Where drawn ones are written.
        num_images: At most; drawn ones are so many.
        drawn_side: Pixels of drawn ones.
    """
    data = real_data()
    if data is not None:
        inside = data / dataset / "images"
        found = sorted((inside if inside.is_dir() else data / dataset).glob("*.jpg"))
        return f"real ({dataset})", found[:num_images]
    paths = [folder / "drawn" / dataset / f"{number}.jpg" for number in range(num_images)]
    for number, path in enumerate(paths):
        write(textured(number, side=drawn_side), path)
    return "drawn", paths


def labelled(folder: Path, *, num_images: int) -> tuple[str, list[Path], np.ndarray]:
    """What they are, JPEG files and their targets: of all over PH2, or drawn ones, dark when malignant."""
    data = real_data()
    if data is not None:
        with ph2.open_source(data / "ph2", is_partial=False) as raw:
            every = max(1, len(raw.metadata) // num_images)
            table = raw.metadata.iloc[::every].iloc[:num_images]
            targets = table["clinical_diagnosis"].eq(MELANOMA_CODE).to_numpy(int)
            return "PH2", [raw.images[name] for name in table["image_file"]], targets
    targets = (np.arange(num_images) % 3 == 0).astype(int)
    paths = [folder / "drawn" / "labelled" / f"{number}.jpg" for number in range(num_images)]
    for number, (path, target) in enumerate(zip(paths, targets, strict=True)):
        write(textured(number, side=600) // (1 + target), path)
    return "drawn", paths, targets


def tables(paths: list[Path], targets: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `packed.pack` takes: who is assigned to which split, and where the files are."""
    names = [path.stem for path in paths]
    splits = [SPLIT_OF_PLACE[number % len(SPLIT_OF_PLACE)] for number in range(len(paths))]
    assigned = pd.DataFrame(
        {"image_id": names, "dataset": "bench", "group_id": names, "target": targets, "split": splits}
    )
    digests = [sha256_of_file(path) for path in paths]
    records = pd.DataFrame(
        {
            "image_id": names,
            "path": list(map(str, paths)),
            "sha256": digests,
            "is_synthetic": False,
            "diagnosis": np.where(targets == 1, "melanoma", "nevus"),
        }
    )
    return assigned, records


def write_squares(paths: list[Path], out: Path, *, size: int) -> None:
    """One array of all images, as `pack` lays them out."""
    np.save(out, np.stack([images.load_square(path.read_bytes(), size) for path in paths]))


def link_by_class(paths: list[Path], folder: Path) -> None:
    """A folder a class with links to the files; every fifth counts as malignant."""
    for number, path in enumerate(paths):
        link = folder / ("benign" if number % 5 else "malignant") / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
