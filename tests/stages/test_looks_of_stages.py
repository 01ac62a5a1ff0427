import math
from pathlib import Path

import numpy as np
import pandas as pd

from melanoma import files
from melanoma.data.packed import Packed
from melanoma.stages import test_set_looks


def entry(specificity: float) -> dict:
    point = {"threshold": 0.2, "evidence": {"specificity": specificity, "band": (0.1, math.nan)}}
    return {
        "operating_point": point,
        "limits": {},
        "num_views": 1,
        "unlike": None,
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


def test_images_are_known_by_the_digest_that_was_packed_with_them():
    index = pd.DataFrame({"image_id": list("abc"), "split": ["train", "test", "test"]})
    index = index.assign(picture_digest=["1", "1", "2"])
    data = Packed(np.zeros((3, 2, 2, 3), np.uint8), index, "digest", is_synthetic=True)
    assert test_set_looks.images(data) == {"b": "1", "c": "2"}
    assert test_set_looks.images(data, ["a", "b", "b"]) == {"a": "1", "b": "1"}
