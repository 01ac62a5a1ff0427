import json

import pandas as pd
import pytest

from tests.pipelines.workspace import change_params, run_stage


def test_it_writes_a_raw_folder_with_the_planted_faults(workspace):
    metadata = pd.read_csv(workspace / "data/raw/sample/metadata.csv")
    faults = set(metadata["planted_fault"].dropna())
    assert faults == {"blurred", "truncated", "duplicate", "near_duplicate", "blank_label", "too_small"}
    assert len(list((workspace / "data/raw/sample/images").iterdir())) == len(metadata) == 60 + 6 + 6


def test_everything_after_it_says_that_the_data_are_synthetic(workspace):
    for name in ("validation/sample", "sample/split", "sample/tuning", "sample/metrics", "sample/promotion"):
        assert json.loads((workspace / f"reports/{name}.json").read_text())["is_synthetic"] is True


def test_a_bad_parameter_stops_it_before_anything_is_written(broken, capsys):
    before = (broken / "data/raw/sample/metadata.csv").read_bytes()
    change_params(broken / "params.yaml", sample={"malignant_fraction": 1.5})
    assert run_stage("sample") == 1
    assert "sample.malignant_fraction" in capsys.readouterr().err
    assert (broken / "data/raw/sample/metadata.csv").read_bytes() == before


@pytest.mark.parametrize("num_lesions", [11, 20])
def test_any_legal_number_of_lesions_works(broken, num_lesions):
    change_params(broken / "params.yaml", sample={"num_lesions": num_lesions, "num_second_views": 2})
    assert run_stage("sample") == 0
    assert len(pd.read_csv("data/raw/sample/metadata.csv")) == num_lesions + 2 + 6
