"""Small sources of images as a user brings them to `fetch`."""

from pathlib import Path

from PIL import Image

ROW = "|| {} || || {} || 0 | T | A | A | A | A || 3 4 ||\n"


def make_ph2(folder: Path) -> Path:
    """Three images of PH2 with their table."""
    (folder / "images").mkdir(parents=True)
    for name in ("IMD001", "IMD002", "IMD003"):
        Image.new("RGB", (160, 160), (200, 150, 130)).save(folder / "images" / f"{name}.png")
    rows = "".join(ROW.format(name, code) for name, code in (("IMD001", 0), ("IMD002", 1), ("IMD003", 2)))
    (folder / "PH2_dataset.txt").write_text(rows)
    return folder


def make_isic(folder: Path) -> Path:
    """Two images of the ISIC Archive with their metadata."""
    (folder / "images").mkdir(parents=True)
    for name in ("ISIC_1", "ISIC_2"):
        Image.new("RGB", (160, 160), (200, 150, 130)).save(folder / "images" / f"{name}.jpg")
    (folder / "metadata.csv").write_text("isic_id,benign_malignant\nISIC_1,benign\nISIC_2,malignant\n")
    return folder


def make_ham10000(folder: Path) -> Path:
    """Three images of HAM10000 in two folders, with their table."""
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for number, code in enumerate(("nv", "mel", "bkl")):
        part = folder / f"part_{number % 2 + 1}"
        part.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (160, 160), (200, 150, 130 + number)).save(part / f"ISIC_{number}.jpg")
        rows.append(f"HAM_{number},ISIC_{number},{code},histo,50.0,male,back")
    (folder / "HAM10000_metadata.csv").write_text("\n".join(rows))
    return folder


def make_challenge(folder: Path) -> Path:
    """Two images of the challenge of 2019 with both tables."""
    (folder / "images").mkdir(parents=True)
    for name in ("ISIC_1", "ISIC_2"):
        Image.new("RGB", (160, 160), (200, 150, 130)).save(folder / "images" / f"{name}.jpg")
    (folder / "truth.csv").write_text("image,MEL,NV,UNK\nISIC_1,0,1,0\nISIC_2,1,0,0\n")
    (folder / "metadata.csv").write_text("image,age_approx,sex\nISIC_1,50,male\nISIC_2,,\n")
    return folder
