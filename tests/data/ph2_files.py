"""PH2's files as tests invent them: three lesions in both layouts."""

from pathlib import Path

import numpy as np

from tests.data.pictures import write

# Invented rows in the form of the official table.
HEADER = (
    "||   Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry | Pigment Network | "
    "Dots/Globules | Streaks | Regression Areas | Blue-Whitish Veil ||           Colors ||"
)
NEVUS = (
    "|| IMD901 ||                        ||                  0 ||         0 |               T | "
    "            A |       A |                A |                 A ||                4 ||"
)
ATYPICAL = (
    "|| IMD902 ||          Atypical Nevus ||                  1 ||         1 |              AT | "
    "           AT |       P |                A |                 A ||             3  4 || "
)
MELANOMA = (
    "|| IMD903 ||                Melanoma ||                  2 ||         2 |              AT | "
    "            A |       A |                P |                 P ||       3  4  5  6 ||"
)
LEGEND = "Legends for Clinical Diagnosis: \n   0 - Common Nevus;\n   1 - Atypical Nevus;\n   2 - Melanoma."
TABLE = "\n".join([HEADER, NEVUS, ATYPICAL, MELANOMA, "", LEGEND])
NAMES = ("IMD901", "IMD902", "IMD903")


def picture(name: str) -> np.ndarray:
    """A small flat picture, another one for each name."""
    return np.full((6, 8, 3), int(name[3:]) % 256, np.uint8)


def write_text(top: Path) -> None:
    """The table as text."""
    (top / "PH2_dataset.txt").write_text(TABLE, encoding="latin-1")


def flat_folder(top: Path, names: tuple[str, ...] = NAMES) -> Path:
    """`images/`, `masks/` and the text table."""
    for name in names:
        write(picture(name), top / "images" / f"{name}.jpg")
        write(picture(name), top / "masks" / f"{name}_lesion.png")
    write_text(top)
    return top


def official_tree(top: Path, names: tuple[str, ...] = NAMES) -> Path:
    """One folder a lesion and the text table."""
    for name in names:
        lesion = top / "PH2 Dataset images" / name
        write(picture(name), lesion / f"{name}_Dermoscopic_Image" / f"{name}.bmp")
        write(picture(name), lesion / f"{name}_lesion" / f"{name}_lesion.bmp")
        write(picture(name), lesion / f"{name}_roi" / f"{name}_R1_Label4.bmp")
    write_text(top)
    return top
