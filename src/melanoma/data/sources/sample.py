"""The dataset `sample`: synthetic pictures that look like dermoscopy, generated from a seed.

With it the whole platform runs without a download, an account or a patient. Lesions belong to patients, some
lesions have two views, and six pictures have a planted fault that later checks must find. This module decides
what is drawn and writes it; `sample_render` draws.

The number in an image id is that of the lesion for a first view, plus 10,000 for a second view; planted
faults are numbered from 20,001 on. So an image does not depend on how many others are generated. Bytes are
reproducible on the same machine with the same library versions.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from melanoma.data.sources import sample_render, translation
from melanoma.data.sources.raw_folder import read_metadata
from melanoma.schema import DERMOSCOPIC

SECOND_VIEW_OFFSET = 10_000
FAULT_OFFSET = 20_000
FAULTS = ("blurred", "truncated", "duplicate", "near_duplicate", "blank_label", "too_small")
# The lesion whose first view is copied, by fault.
COPIED_LESIONS = {"duplicate": 4, "near_duplicate": 8}
TOO_SMALL_SIZE = 120
LABEL_BLOCK = 10

# Second word of every random seed: a lesion, a view and a patient of the same number must not share draws.
LESION_STREAM, VIEW_STREAM, PATIENT_STREAM, LABEL_STREAM, RECORD_STREAM = range(5)

SITES = (
    "anterior torso",
    "posterior torso",
    "upper extremity",
    "lower extremity",
    "head/neck",
    "palms/soles",
)
RULES = {
    "benign_malignant": translation.LABEL,
    "diagnosis": translation.DIAGNOSIS,
    "age_years": translation.AGE_YEARS,
    "sex": translation.SEX,
}
ATTRIBUTION = "synthetic image made by melanoma.data.sources.sample; shows no patient"


@dataclass(frozen=True)
class Look:
    """How lesions are drawn; both fields as in `generate`."""

    malignant_disorder: float
    image_size: int


def generate(
    out_dir: Path,
    *,
    seed: int,
    num_lesions: int,
    num_second_views: int,
    malignant_fraction: float,
    malignant_disorder: float,
    image_size: int,
) -> pd.DataFrame:
    """Write the synthetic dataset: `images/`, `masks/` and `metadata.csv`.

    `config.data.Sample` checks the ranges of the arguments.

    Args:
        out_dir: An empty folder.
        seed: The same arguments give the same bytes on the same machine.
        num_lesions: Number of lesions, one image each.
        num_second_views: Number of lesions, from the first on, that get a second image.
        malignant_fraction: Fraction of malignant lesions, met to within one lesion in every block of 10.
        malignant_disorder: Mean disorder of malignant lesions, in standard deviations, where benign ones have
            `sample_render.BENIGN_DISORDER`.
        image_size: Height and width in pixels.

    Returns:
        The metadata as written, `num_lesions + num_second_views + 6` rows, the last six with `planted_fault`.
        `image_file` and `mask_file` are names in `images/` and `masks/`.
    """
    lesions = range(1, num_lesions + 1)
    numbers = [
        *lesions,
        *(SECOND_VIEW_OFFSET + lesion for lesion in lesions[:num_second_views]),
        *(FAULT_OFFSET + position for position in range(1, len(FAULTS) + 1)),
    ]
    rows = [_metadata_row(seed, number, malignant_fraction) for number in numbers]
    for folder in ("images", "masks"):
        (out_dir / folder).mkdir(parents=True, exist_ok=True)
    planned, look = list(zip(numbers, rows, strict=True)), Look(malignant_disorder, image_size)
    for number, row in tqdm(planned, disable=None, desc="sample", unit="image"):
        _write_image(out_dir, seed, number, row=row, look=look)
    metadata = pd.DataFrame(rows)
    metadata.to_csv(out_dir / "metadata.csv", index=False, lineterminator="\n")
    return metadata


def read_records(raw_dir: Path) -> pd.DataFrame:
    """Rows of `metadata.csv` in the common vocabulary; see `readers.read_records`.

    Planted faults stay: the checks must find them.
    """
    metadata, bad = translation.translate(read_metadata(raw_dir), RULES)
    translation.require_readable(bad, raw_dir / "metadata.csv")
    return metadata.assign(
        malignancy=translation.malignancy(metadata["benign_malignant"]),
        age_years=metadata["age_years"].astype(float),
        image_type=DERMOSCOPIC,
        is_synthetic=(metadata["is_synthetic"] == "True").astype(bool),
    )


def _metadata_row(seed: int, number: int, malignant_fraction: float) -> dict[str, object]:
    """Columns of `metadata.csv` for one image; a copy repeats its source under new identifiers."""
    fault = _planted_fault(number)
    lesion = COPIED_LESIONS.get(fault, number % SECOND_VIEW_OFFSET if not fault else number)
    is_malignant = _is_malignant(seed, lesion, malignant_fraction)
    patient = _patient_number(seed, lesion)
    # A copy is only a fault if its ids do not give it away.
    shown_lesion, shown_patient = (number, number) if fault in COPIED_LESIONS else (lesion, patient)
    is_blank = fault == "blank_label"
    rng = np.random.default_rng([seed, RECORD_STREAM, lesion])
    return {
        "image_id": _image_id(number),
        "lesion_id": f"SYN_L{shown_lesion:05d}",
        "patient_id": f"SYN_P{shown_patient:05d}",
        "diagnosis": "" if is_blank else ("melanoma" if is_malignant else "nevus"),
        "benign_malignant": "" if is_blank else ("malignant" if is_malignant else "benign"),
        **_patient_facts(seed, patient),
        "anatom_site": str(rng.choice(SITES)),
        "source_collection": "synthetic",
        "skin_ita_degrees": round(sample_render.ita_degrees(_skin_tone(seed, patient)), 1),
        "licence": "CC-0",
        "attribution": ATTRIBUTION,
        "is_synthetic": True,
        "image_file": f"{_image_id(number)}.jpg",
        "mask_file": f"{_image_id(number)}_lesion.png",
        "planted_fault": fault,
    }


def _image_id(number: int) -> str:
    return f"SYN_{number:05d}"


def _planted_fault(number: int) -> str:
    return FAULTS[number - FAULT_OFFSET - 1] if number > FAULT_OFFSET else ""


def _is_malignant(seed: int, lesion: int, malignant_fraction: float) -> bool:
    """Label of a lesion, drawn within its block of 10 so that small datasets meet the fraction too."""
    block, place = divmod(lesion - 1, LABEL_BLOCK)
    # The difference of two rounded totals, not a rounded fraction: 0.25 gives 2, 3, 2, 3, ...
    with_block, without = ((block + n) * LABEL_BLOCK * malignant_fraction for n in (1, 0))
    num_malignant = int(with_block + 0.5) - int(without + 0.5)
    order = np.random.default_rng([seed, LABEL_STREAM, block]).permutation(LABEL_BLOCK)
    return bool(order[place] < num_malignant)


def _patient_number(seed: int, lesion: int) -> int:
    """Patient of a lesion: a fifth of the pairs (1, 2), (3, 4), ... have one patient."""
    if lesion > FAULT_OFFSET or lesion % 2:
        return lesion
    is_shared = np.random.default_rng([seed, PATIENT_STREAM, lesion]).random() < 0.2
    return lesion - 1 if is_shared else lesion


def _patient_facts(seed: int, patient: int) -> dict[str, object]:
    """Age and sex, independent of the label; a few are unknown, as in every archive."""
    rng = np.random.default_rng([seed, PATIENT_STREAM, patient, 1])
    age_years = int(np.clip(rng.normal(52, 16), 15, 90)) // 5 * 5
    sex = str(rng.choice(("female", "male")))
    return {
        "age_years": "" if rng.random() < 0.03 else age_years,
        "sex": "" if rng.random() < 0.03 else sex,
    }


def _skin_tone(seed: int, patient: int) -> float:
    """Position on `sample_render.SKIN_TONES` of a patient; pale ones are more frequent."""
    rng = np.random.default_rng([seed, PATIENT_STREAM, patient, 2])
    return float(5 * rng.beta(1.3, 1.9))


def _write_image(out_dir: Path, seed: int, number: int, *, row: dict[str, object], look: Look) -> None:
    """Write the image and the mask of a row, with its fault if it has one."""
    image_path = out_dir / "images" / str(row["image_file"])
    mask_path = out_dir / "masks" / str(row["mask_file"])
    fault = str(row["planted_fault"])
    if fault in COPIED_LESIONS:
        source = _image_id(COPIED_LESIONS[fault])
        copy = shutil.copyfile if fault == "duplicate" else _copy_turned
        copy(image_path.with_name(f"{source}.jpg"), image_path)
        copy(mask_path.with_name(f"{source}_lesion.png"), mask_path)
        return
    is_malignant = row["benign_malignant"] == "malignant"
    picture, mask = _draw(seed, number, is_malignant=is_malignant, look=look)
    if fault == "blurred":
        picture = cv2.GaussianBlur(picture, (0, 0), look.image_size / 32)
    if fault == "too_small":
        size = (TOO_SMALL_SIZE, TOO_SMALL_SIZE)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    rng = np.random.default_rng([seed, VIEW_STREAM, number, 1])
    encoded = _encoded(picture[..., ::-1], ".jpg", quality=int(rng.integers(85, 96)))
    if fault == "truncated":
        encoded = encoded[: len(encoded) * 6 // 10]
    image_path.write_bytes(encoded)
    mask_path.write_bytes(_encoded(mask, ".png"))


def _draw(seed: int, number: int, *, is_malignant: bool, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Draw one view; both views of a lesion start from the same random stream."""
    lesion = number if number > FAULT_OFFSET else number % SECOND_VIEW_OFFSET
    lesion_rng = np.random.default_rng([seed, LESION_STREAM, lesion])
    disorder = look.malignant_disorder if is_malignant else sample_render.BENIGN_DISORDER
    traits = sample_render.draw_traits(lesion_rng, mean_disorder=disorder)
    layers = sample_render.render_lesion(lesion_rng, traits, size=look.image_size)
    return sample_render.render_view(
        np.random.default_rng([seed, VIEW_STREAM, number]),
        layers,
        skin_tone=_skin_tone(seed, _patient_number(seed, lesion)),
        image_size=look.image_size,
    )


def _copy_turned(source: Path, target: Path) -> None:
    """Copy a picture rotated by a quarter turn and encoded anew."""
    turned = cv2.rotate(cv2.imread(str(source), cv2.IMREAD_UNCHANGED), cv2.ROTATE_90_CLOCKWISE)
    target.write_bytes(_encoded(turned, target.suffix, quality=80))


def _encoded(pixels: np.ndarray, suffix: str, *, quality: int = 95) -> bytes:
    """Encode BGR pixels as JPEG (with `quality`) or PNG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    is_encoded, encoded = cv2.imencode(suffix, pixels, options)
    if not is_encoded:
        raise RuntimeError(f"OpenCV could not encode an image of shape {pixels.shape} as {suffix}")
    return encoded.tobytes()
