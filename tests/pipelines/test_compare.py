import json
from pathlib import Path

import pandas as pd

from tests.pipelines.workspace import run_stage

OUT = Path("reports/study/compare")


def test_every_table_and_picture_has_a_caption_and_a_text_for_those_who_do_not_see_it(at_workspace):
    captions = json.loads((OUT / "captions.json").read_text())
    assert set(captions) == {path.name for path in OUT.iterdir()} - {"captions.json", "page.md"}
    assert all(entry["caption"] and entry["alt"] for entry in captions.values())


def test_the_printed_figures_stand_in_the_tables(at_workspace):
    table = pd.read_csv(OUT / "table_1.csv")
    printed = table[table["whose"] == "the paper"]
    assert printed["F1"].tolist() == [0.8448, 0.8981, 0.9717, 0.9161, 0.8349]


def test_what_was_not_studied_is_left_out_and_what_was_is_there(at_workspace):
    assert set(pd.read_csv(OUT / "table_2.csv")["whose"]) == {"the paper"}  # of isic, ph2 and joint
    protocols = pd.read_csv(OUT / "protocols.csv")
    assert set(protocols["dataset"]) == {"sample"}
    assert (OUT / "roc_sample.png").exists()


def test_the_page_says_what_it_is_of(at_workspace):
    page = (OUT / "page.md").read_text()
    assert "`sample`: **synthetic images**" in page
    assert "not a medical device" in page
    assert "## Where the paper contradicts itself" in page


def test_without_results_the_published_figures_stand_alone(broken):
    for path in Path("reports/study/results").iterdir():
        if path.name != "paper.json":
            path.unlink()
    assert run_stage("compare") == 0
    assert "No cohort was studied yet" in (OUT / "page.md").read_text()
    assert not list(OUT.glob("*.png"))


def test_a_file_that_is_no_result_is_named(broken, capsys):
    (Path("reports/study/results") / "other.json").write_text("{}")
    assert run_stage("compare") == 1
    assert "other.json lacks ['cohort', 'networks', 'protocols', 'seeds']" in capsys.readouterr().err
