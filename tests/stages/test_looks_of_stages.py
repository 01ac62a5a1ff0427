import math
from pathlib import Path

from melanoma import files
from melanoma.stages import test_set_looks


def entry(specificity: float) -> dict:
    point = {"threshold": 0.2, "evidence": {"specificity": specificity, "band": (0.1, math.nan)}}
    return {
        "operating_point": point,
        "limits": {},
        "code_sha256": "c",
        "crop": None,
        "network_sha256": "n" * 64,
    }


def test_a_model_is_the_same_before_its_entry_is_written_and_after_it_is_read(tmp_path: Path):
    files.write_json(entry(math.nan), tmp_path / "models.json")
    read = files.read_json(tmp_path / "models.json")
    digest = test_set_looks.model_digest(entry(math.nan))
    assert digest == test_set_looks.model_digest(read)
    assert digest != test_set_looks.model_digest(entry(0.5))
