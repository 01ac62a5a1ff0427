import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from melanoma import tracking
from tests.pipelines.workspace import run_stage

pytestmark = pytest.mark.slow

STAGE = "resplit"
OUT = Path("reports/study/resplit")


@pytest.fixture
def frozen_blocks(tmp_path):
    """A file of weights of one block."""
    generator = np.random.default_rng(2)
    with h5py.File(tmp_path / "some.h5", "w") as file:
        for layer, shape in {"block1_conv1": (3, 64), "block1_conv2": (64, 64)}.items():
            file[f"{layer}/0"] = generator.normal(0, 0.1, (3, 3, *shape)).astype(np.float32)
            file[f"{layer}/1"] = generator.normal(0, 0.1, shape[1]).astype(np.float32)
    return tmp_path / "some.h5"


def results() -> dict:
    return json.loads((OUT / "sample.json").read_text())


def test_the_test_set_is_compared_with_others(at_workspace):
    found = results()
    assert found["is_synthetic"] is True
    assert list(found["methods"]) == ["colours"]  # the search found no frozen blocks
    colours = found["methods"]["colours"]
    assert len(colours["others"]) == found["num_splits"] == 3
    assert colours["mean"] == pytest.approx(np.mean(colours["others"]))
    # The same regression that `audit` reports.
    audited = json.loads(Path("reports/sample/audit.json").read_text())
    assert colours["here"] == pytest.approx(audited["references"]["colour"]["auc_roc"]["value"])
    assert len(pd.read_csv(OUT / "sample/resplit.csv")) == 1
    assert set(json.loads((OUT / "sample/captions.json").read_text())) == {"resplit.csv", "resplit.png"}


def test_it_has_one_run_under_that_of_the_study(at_workspace):
    store = tracking.client()
    experiment = store.get_experiment_by_name("melanoma-study").experiment_id
    (run,) = store.search_runs([experiment], "tags.stage = 'resplit'")
    parent = store.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["study"] == "paper"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["resplit/colours_here"] == pytest.approx(results()["methods"]["colours"]["here"])
    assert run.data.params["num_splits"] == "3"


def test_no_split_is_changed_and_a_second_run_gives_the_same_results(broken):
    kept = [Path("data/groups/assigned.csv"), Path("data/splits/sample.csv"), OUT / "sample.json"]
    before = [path.read_bytes() for path in kept]
    assert run_stage("resplit") == 0
    assert [path.read_bytes() for path in kept] == before


def test_frozen_blocks_are_measured_where_the_search_found_them(broken, frozen_blocks, capsys):
    tuning = Path("reports/sample/tuning.json")
    content = json.loads(tuning.read_text())
    content["best"]["hyperparameters"] |= {
        "family": "vgg16",
        "depth": 1,
        "weights": str(frozen_blocks),
        "frozen_stages": 1,
    }
    tuning.write_text(json.dumps(content))
    assert run_stage("resplit") == 0
    assert list(results()["methods"]) == ["colours", "frozen_vgg16"]
    assert "frozen VGG-16 blocks of the best of the search: AUC" in capsys.readouterr().out


def test_a_search_of_another_shape_is_named_and_the_old_results_stay(broken, capsys):
    tuning = Path("reports/sample/tuning.json")
    before = (OUT / "sample.json").read_bytes()
    tuning.write_text(json.dumps(json.loads(tuning.read_text()) | {"best": {}}))
    assert run_stage("resplit") == 1
    assert "tuning.json lacks 'hyperparameters'" in capsys.readouterr().err
    assert (OUT / "sample.json").read_bytes() == before
