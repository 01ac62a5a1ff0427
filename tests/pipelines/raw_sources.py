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
