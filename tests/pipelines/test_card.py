import re
from pathlib import Path

import pytest

from melanoma import files
from melanoma.data.checks.facts import arrow_schema
from pipelines import _cli, card
from tests.data.card_data import ASSIGNED, FACTS, QUARANTINED, RECORDS
from tests.pipelines.workspace import SMALL, command, inside, run_stage, write_params


@pytest.fixture
def at_toy(tmp_path):
    """The current folder holds what earlier stages would have written about a toy dataset."""
    write_params(tmp_path / "params.yaml", SMALL)
    with inside(tmp_path):
        files.write_parquet(RECORDS, Path("data/records/toy.parquet"))
        files.write_parquet(RECORDS[RECORDS["image_id"] < "f"], Path("data/accepted/toy.parquet"))
        files.write_parquet_groups([FACTS], Path("data/facts/toy.parquet"), arrow_schema())
        files.write_csv(QUARANTINED, Path("data/quarantine/toy.csv"))
        files.write_csv(ASSIGNED, Path("data/groups/assigned.csv"))
        yield tmp_path


def run() -> int:
    return _cli.run(card.main, command("card", "toy"))


def test_the_page_and_its_figures_are_written(at_toy, capsys):
    assert run() == 0
    text = Path("reports/data/toy.md").read_text()
    assert text.startswith("# Data card: toy\n")
    links = re.findall(r"\]\(<(.+?)>\)", text)
    assert links == ["toy/age.png", "toy/resolution.png", "toy/quality.png"]
    assert all((Path("reports/data") / link).is_file() for link in links)
    assert "undefined, because one class has 1 groups, and 5 are required" in text
    assert capsys.readouterr().out == "[card@toy] no set of facts has a defined AUC -> reports/data/toy.md\n"


def test_the_same_input_gives_the_same_bytes(at_toy):
    assert run() == 0
    before = {file: file.read_bytes() for file in Path("reports/data").rglob("*") if file.is_file()}
    assert run() == 0
    assert {file: file.read_bytes() for file in before} == before


def test_an_empty_quarantine_is_read(at_toy):
    files.write_csv(QUARANTINED[:0], Path("data/quarantine/toy.csv"))
    assert run() == 0
    assert "No image was quarantined." in Path("reports/data/toy.md").read_text()


@pytest.mark.parametrize("missing", ["data/groups/assigned.csv", "data/facts/toy.parquet"])
def test_a_missing_input_is_refused_and_nothing_is_written(at_toy, missing, capsys):
    Path(missing).unlink()
    assert run() == 1
    assert f"{missing} does not exist" in capsys.readouterr().err
    assert not Path("reports").exists()


def test_the_card_of_the_sample_says_synthetic_and_shows_its_shortcuts(at_workspace):
    text = Path("reports/data/sample.md").read_text()
    assert "> **SYNTHETIC.**" in text
    assert "From the file size in bytes alone" in text
    assert Path("reports/data/sample/shortcuts.png").is_file()


def test_a_change_of_the_assigned_groups_changes_the_card(broken):
    before = Path("reports/data/sample.md").read_text()
    assigned = files.read_csv(Path("data/groups/assigned.csv"), dtype="string")
    files.write_csv(assigned.assign(split="train"), Path("data/groups/assigned.csv"))
    assert run_stage("card") == 0
    assert Path("reports/data/sample.md").read_text() != before
