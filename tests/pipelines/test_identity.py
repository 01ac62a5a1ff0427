"""Every figure stays with its image, whatever the order of the tables that stages leave for each other."""

import json
from pathlib import Path

import pandas as pd
import pytest

from melanoma.data import packed
from tests.pipelines.workspace import change_params, run_stage

ACCEPTED, FACTS = Path("data/accepted/sample.parquet"), Path("data/facts/sample.parquet")
BOXES, REPORTS = Path("data/lesions/sample.parquet"), Path("reports/sample")
PREDICTIONS, REFERENCES = REPORTS / "predictions.csv", REPORTS / "references.csv"


def shuffle(path: Path, *, without: int = 0) -> pd.DataFrame:
    """Write the rows of a table in another order, perhaps without some; those that were left out."""
    is_csv = path.suffix == ".csv"
    table = pd.read_csv(path, dtype="string", keep_default_na=False) if is_csv else pd.read_parquet(path)
    mixed = table.sample(frac=1, random_state=7)
    kept = mixed[without:]
    assert not table.head(5).equals(kept.head(5))
    kept.to_csv(path, index=False) if is_csv else kept.to_parquet(path, index=False)
    return mixed[:without]


def read(name: str) -> dict:
    return json.loads((REPORTS / f"{name}.json").read_text())


@pytest.mark.slow
def test_accepted_records_and_facts_in_another_order_change_no_figure(own):
    names = ("metrics", "slices", "audit")
    before = {name: read(name) for name in names}
    written = [path.read_bytes() for path in (PREDICTIONS, REFERENCES)]
    shuffle(ACCEPTED)
    shuffle(FACTS)
    assert run_stage("evaluate") == 0
    assert run_stage("audit") == 0
    assert {name: read(name) for name in names} == before
    assert [path.read_bytes() for path in (PREDICTIONS, REFERENCES)] == written


def test_an_image_without_facts_is_named_and_nothing_is_written(own, capsys):
    before = PREDICTIONS.stat().st_mtime_ns, REFERENCES.stat().st_mtime_ns
    index = packed.open_packed(Path("data/packed/sample")).index
    facts = pd.read_parquet(FACTS)
    lost = index["image_id"].iloc[3]
    facts[facts["image_id"] != lost].to_parquet(FACTS, index=False)
    for stage in ("evaluate", "audit"):
        assert run_stage(stage) == 1
        assert lost in capsys.readouterr().err
    assert before == (PREDICTIONS.stat().st_mtime_ns, REFERENCES.stat().st_mtime_ns)


def test_predictions_and_references_in_another_order_change_no_verdict_and_no_curve(own):
    assert run_stage("promote") == 0
    before = read("promotion"), json.loads(Path("reports/headlines/sample.json").read_text())
    shuffle(PREDICTIONS)
    shuffle(REFERENCES)
    assert run_stage("promote") == 0
    after = read("promotion"), json.loads(Path("reports/headlines/sample.json").read_text())
    assert after[0]["gates"] == before[0]["gates"]
    assert after[0]["challenger"] == before[0]["challenger"]
    assert after[1]["roc"] == before[1]["roc"]


@pytest.mark.parametrize("path", [PREDICTIONS, REFERENCES], ids=["predictions", "references"])
def test_a_table_that_lacks_an_image_is_refused_and_nothing_is_written_or_moved(own, capsys, path):
    before = (REPORTS / "promotion.json").read_bytes()
    (lost,) = shuffle(path, without=1)["image_id"]
    assert run_stage("promote") == 1
    message = capsys.readouterr().err
    assert f"1 images have no row ({lost})" in message
    assert "dvc repro" in message
    assert (REPORTS / "promotion.json").read_bytes() == before


def test_boxes_in_another_order_cut_the_same_pictures_and_lacking_ones_are_named(own, capsys):
    change_params(own / "params.yaml", pack={"crop": "mask"})
    assert run_stage("segment") == 0
    assert run_stage("pack") == 0
    digest = packed.open_packed(Path("data/packed/sample")).digest
    shuffle(BOXES)
    shuffle(ACCEPTED)
    assert run_stage("pack") == 0
    assert packed.open_packed(Path("data/packed/sample")).digest == digest
    (lost,) = shuffle(BOXES, without=1)["image_id"]
    assert run_stage("pack") == 1
    assert f"1 images have no row ({lost})" in capsys.readouterr().err
    assert packed.open_packed(Path("data/packed/sample")).digest == digest
