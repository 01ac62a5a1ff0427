from pathlib import Path

import numpy as np
import pandas as pd

from melanoma.data.crops import Box
from melanoma.data.images import load_crop, load_square
from melanoma.data.lesions import EDGES, NO_MASK
from melanoma.data.packed import open_packed
from melanoma.files import read_json
from tests.pipelines.workspace import change_params, run_stage


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


def test_pictures_are_cut_by_masks_where_it_is_asked_for(broken, capsys):
    whole = open_packed(Path("data/packed/sample"))
    change_params(Path("params.yaml"), pack={"crop": "mask"})
    assert run_stage("segment") == 0
    assert run_stage("pack") == 0
    cut = open_packed(Path("data/packed/sample"))
    assert (whole.crop, cut.crop.kind, cut.crop.margin_fraction) == (None, "mask", 0.15)
    assert cut.digest != whole.digest
    row = 0
    boxes = pd.read_parquet("data/lesions/sample.parquet").set_index("image_id")
    path_of = pd.read_parquet("data/accepted/sample.parquet").set_index("image_id")["path"]
    image_id = cut.index["image_id"][row]
    box = Box(*boxes.loc[image_id, list(EDGES)])
    encoded = Path(path_of[image_id]).read_bytes()
    np.testing.assert_array_equal(cut.images[row], load_crop(encoded, 48, box, margin_fraction=0.15))
    assert f"{len(cut.index)} cropped by mask, 0 not cropped" in capsys.readouterr().out


def test_an_image_without_a_box_stays_whole_and_is_counted(broken, capsys):
    change_params(Path("params.yaml"), pack={"crop": "mask"})
    assert run_stage("segment") == 0
    boxes = pd.read_parquet("data/lesions/sample.parquet")
    boxes.loc[0, list(EDGES)] = np.nan
    boxes.loc[0, "problem"] = NO_MASK
    boxes.to_parquet("data/lesions/sample.parquet")
    whole = open_packed(Path("data/packed/sample"))
    before = np.array(whole.images)
    assert run_stage("pack") == 0
    cut = open_packed(Path("data/packed/sample"))
    is_whole = cut.index["image_id"] == boxes.loc[0, "image_id"]
    np.testing.assert_array_equal(cut.images[is_whole], before[is_whole])
    assert read_json(Path("data/packed/sample/manifest.json"))["num_whole"] == 1
    assert f"{len(cut.index) - 1} cropped by mask, 1 not cropped" in capsys.readouterr().out


def test_crops_by_a_network_that_was_not_trained_are_refused(broken, capsys):
    change_params(Path("params.yaml"), pack={"crop": "unet"}, segment={"train": True})
    assert run_stage("pack") == 1
    assert "has no boxes for pack.crop: unet. Run `dvc repro segment`" in capsys.readouterr().err
