"""Stage `paper`: check the published figures against each other."""

from pathlib import Path

from melanoma import files
from melanoma.study import paper_figures


def run(out: Path, *, tolerance: float) -> tuple[int, int]:
    """Write the published figures with their checks.

    Args:
        out: JSON file to write.
        tolerance: Maximum difference of two figures that agree.

    Returns:
        How many checks agree, and how many there are.
    """
    published = paper_figures.load()
    checked = paper_figures.check(published, tolerance=tolerance)
    files.write_json({"published": published} | checked, out)
    agreeing = sum(entry["agrees"] for entry in checked["checks"])
    return agreeing, len(checked["checks"])
