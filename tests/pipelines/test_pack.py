from pathlib import Path

import numpy as np
import pandas as pd

from melanoma.data.images import load_square
from melanoma.data.packed import open_packed
from tests.pipelines.workspace import run_stage


def test_every_packed_image_is_what_the_server_would_see(at_workspace):
    packed = open_packed(Path("data/packed/sample"))
    path_of = pd.read_parquet("data/accepted/sample.parquet").set_index("image_id")["path"]
    for row in (0, len(packed.index) // 2, len(packed.index) - 1):
        encoded = Path(path_of[packed.index["image_id"][row]]).read_bytes()
        np.testing.assert_array_equal(packed.images[row], load_square(encoded, 48))


def test_the_same_input_gives_the_same_bytes(broken):
    before = {file.name: file.read_bytes() for file in Path("data/packed/sample").iterdir()}
    assert run_stage("pack") == 0
    assert {file.name: file.read_bytes() for file in Path("data/packed/sample").iterdir()} == before


def test_an_image_that_changed_since_it_was_inspected_is_refused(broken, capsys):
    before = Path("data/packed/sample/manifest.json").read_bytes()
    victim = Path(pd.read_parquet("data/accepted/sample.parquet")["path"].iloc[0])
    victim.write_bytes(victim.read_bytes()[:-10])
    assert run_stage("pack") == 1
    assert f"{victim} (changed since it was inspected)" in capsys.readouterr().err
    assert Path("data/packed/sample/manifest.json").read_bytes() == before


def test_an_image_that_vanished_is_refused_by_name(broken, capsys):
    victim = Path(pd.read_parquet("data/accepted/sample.parquet")["path"].iloc[0])
    victim.unlink()
    assert run_stage("pack") == 1
    assert f"{victim} (the file cannot be read" in capsys.readouterr().err
