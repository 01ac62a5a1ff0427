import json
from pathlib import Path

import pandas as pd
import pytest

from tests.pipelines import workspace as ws
from tests.pipelines.workspace import run_stage
from tests.study.toys import network, result

RESULTS, OUT = Path("reports/study/results"), Path("reports/study/compare")
COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy")


@pytest.fixture
def compared(tmp_path):
    """The current folder, with invented results of the cohort sample and the output of the stage."""
    ws.write_params(tmp_path / "params.yaml", {})
    keys = [
        {"network": "conv_blocks_3", "protocol": protocol, "seed": seed}
        for protocol in ("paper", "leak_free")
        for seed in (1, 2, 3)
    ]
    curves = [key | {"false_positive_fraction": at, "sensitivity": at} for key in keys for at in (0.0, 1.0)]
    history = [key | {"epoch": epoch} | dict.fromkeys(COLUMNS, 0.5) for key in keys for epoch in (1, 2)]
    found = result("sample", {"conv_blocks_1": network(1), "conv_blocks_3": network()})
    with ws.inside(tmp_path):
        assert run_stage("paper") == 0
        (RESULTS / "sample.json").write_text(json.dumps(found | {"is_synthetic": True}))
        pd.DataFrame(curves).to_csv(RESULTS / "sample_roc.csv", index=False)
        pd.DataFrame(history).to_csv(RESULTS / "sample_history.csv", index=False)
        assert run_stage("compare") == 0
        yield tmp_path


def test_every_table_and_picture_has_a_caption_and_a_text_for_those_who_do_not_see_it(compared):
    captions = json.loads((OUT / "captions.json").read_text())
    assert set(captions) == {path.name for path in OUT.iterdir()} - {"captions.json", "page.md"}
    assert all(entry["caption"] and entry["alt"] for entry in captions.values())


def test_the_printed_figures_stand_in_the_tables(compared):
    table = pd.read_csv(OUT / "table_1.csv")
    printed = table[table["source"] == "the paper"]
    assert printed["F1"].tolist() == [0.8448, 0.8981, 0.9717, 0.9161, 0.8349]


def test_what_was_not_studied_is_left_out_and_what_was_is_there(compared):
    assert set(pd.read_csv(OUT / "table_2.csv")["source"]) == {"the paper"}  # of isic, ph2 and joint
    protocols = pd.read_csv(OUT / "protocols.csv")
    assert set(protocols["dataset"]) == {"sample"}
    assert (OUT / "roc_sample.png").exists()


def test_the_page_says_what_it_is_of(compared):
    page = (OUT / "page.md").read_text()
    assert "`sample`: **synthetic images**" in page
    assert "not a medical device" in page
    assert "## Contradictions within the paper" in page


def test_without_results_the_published_figures_stand_alone(compared):
    for path in RESULTS.iterdir():
        if path.name != "paper.json":
            path.unlink()
    assert run_stage("compare") == 0
    assert "There are no results for any cohort yet" in (OUT / "page.md").read_text()
    assert not list(OUT.glob("*.png"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda _: {}, "lacks 'cohort'"),
        (
            lambda result: {name: result[name] for name in result if name != "max_num_epochs"},
            "lacks 'max_num",
        ),
        (
            lambda result: result | {"networks": {"conv_blocks_3": {"protocols": {"paper": {}}}}},
            "lacks 'runs'",
        ),
        (lambda result: result | {"networks": None}, "does not fit"),
    ],
)
def test_a_result_of_another_shape_is_named_and_what_was_compared_stays(compared, capsys, change, complaint):
    path = RESULTS / "sample.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    before = {one.name: one.read_bytes() for one in OUT.iterdir()}
    assert run_stage("compare") == 1
    error = capsys.readouterr().err
    assert f"{path} {complaint}" in error
    assert "Remove it and run" in error
    assert {one.name: one.read_bytes() for one in OUT.iterdir()} == before


def test_published_figures_and_curves_of_another_shape_are_named(compared, capsys):
    roc = RESULTS / "sample_roc.csv"
    before = roc.read_text()
    roc.write_text("other\n1\n")
    assert run_stage("compare") == 1
    assert f"{roc} lacks 'network'" in capsys.readouterr().err
    roc.write_text(before)
    (RESULTS / "paper.json").write_text("{}")
    assert run_stage("compare") == 1
    assert "paper.json lacks 'published'" in capsys.readouterr().err
