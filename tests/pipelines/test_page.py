import html
import json
import re
from pathlib import Path

import pytest

from melanoma import tracking, tracking_views
from melanoma.tracking_fields import NOTE_TAG
from pipelines import _cli, page
from tests.pipelines.workspace import change_params, command, copy_with_store, inside, run_stage

PAGE = Path("reports/index.html")


def words() -> str:
    """What the page says, without its marks."""
    return " ".join(re.sub(r"<[^>]+>", " ", PAGE.read_text(encoding="utf-8")).split())


@pytest.fixture
def drawn(workspace, tmp_path):
    """The current folder is a copy of the workspace with its store, to draw the page in."""
    folder = copy_with_store(workspace, tmp_path / "copy")
    with inside(folder):
        yield folder


def run(*more: str) -> int:
    return _cli.run(page.main, [*command("page", ""), *more])


def test_the_page_shows_what_the_reports_say(at_workspace):
    found = json.loads(Path("reports/headlines/sample.json").read_text())
    text = words()
    for model in ("baseline", "tuned"):
        auc = found["metrics"][model]["auc_roc"]
        assert f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in text
    assert found["data_digest"] in text
    assert f"melanoma-sample version {found['promotion']['version']} passed the gates" in text
    assert "SYNTHETIC" in text
    assert "not a medical device" in text
    assert "Data card: sample" in text
    assert "Missing files" not in text


def test_the_study_is_shown_where_its_folder_is_named(drawn):
    folder = drawn / "reports/study/compare"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table_2.csv").write_text("cohort,accuracy\nph2,0.925\n")
    (folder / "captions.json").write_text('{"table_2.csv": "Table II"}')
    assert run() == 0
    assert "Table II" not in words()
    assert run("--study", "reports/study") == 0
    assert "Table II" in words()


def test_the_experiments_have_their_notes_and_saved_views(at_workspace):
    experiment = tracking.client().get_experiment_by_name("melanoma-sample")
    assert experiment.tags[NOTE_TAG].startswith("Compare networks by `selection/auc_roc`")
    assert tracking_views.VIEW_TAG_PREFIX + tracking_views.VIEW_KEY in experiment.tags


def test_the_page_is_attached_to_a_run_that_says_of_what_it_is(at_workspace):
    store = tracking.client()
    experiment = store.get_experiment_by_name(page.EXPERIMENT)
    run = store.search_runs([experiment.experiment_id])[0]
    assert run.data.tags["mlflow.runName"] == "page of sample"
    assert [file.path for file in store.list_artifacts(run.info.run_id)] == ["index.html"]


def test_what_inactive_cohorts_left_is_not_shown_as_current(drawn):
    left = json.loads(Path("reports/headlines/sample.json").read_text()) | {"cohort": "ph2"}
    Path("reports/headlines/ph2.json").write_text(json.dumps(left))
    Path("reports/data/ph2.md").write_text("# Data card: ph2\n\nOf an earlier run.\n")
    assert run() == 0
    text = words()
    assert "Of an earlier run" not in text
    assert "melanoma-ph2" not in text


def test_what_is_missing_is_named_with_how_to_make_it_and_the_page_is_drawn(drawn, capsys):
    Path("reports/data/sample.md").unlink()
    Path("reports/headlines/sample.json").unlink()
    assert run() == 0
    text = words()
    assert "reports/data/sample.md; it is written by dvc repro card" in text
    assert "reports/headlines/sample.json; it is written by dvc repro promote" in text
    assert "There is no data card." in text
    assert "[page] no cohort: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("active", "commands"),
    [
        ({}, "make install dvc repro Code, data"),
        (
            {"datasets": ["isic"], "cohorts": ["isic"]},
            "dvc exp run -S 'run.datasets=[isic]' -S 'run.cohorts=[isic]'",
        ),
    ],
)
def test_the_page_says_how_to_reproduce_it(drawn, active, commands):
    change_params(drawn / "params.yaml", run=active)
    assert run() == 0
    assert commands in html.unescape(words())


def test_a_page_that_grows_too_large_is_refused_and_the_old_one_stays(drawn, capsys):
    before = PAGE.read_bytes()
    change_params(drawn / "params.yaml", page={"max_megabytes": 0.01})
    assert run() == 1
    assert "more than page.max_megabytes 0.01" in capsys.readouterr().err
    assert PAGE.read_bytes() == before


def test_hostile_words_of_a_data_card_are_only_shown(drawn):
    card = Path("reports/data/sample.md")
    card.write_text(card.read_text() + "\n<script>alert('x')</script>\n")
    assert run() == 0
    assert "<script>alert" not in PAGE.read_text()
    assert "&lt;script&gt;alert" in PAGE.read_text()


def test_the_headline_of_a_cohort_is_all_that_the_page_needs_of_it(drawn):
    assert run_stage("promote") == 0
    text = Path("reports/headlines/sample.json").read_text()
    assert len(text) < 50_000
    assert set(json.loads(text)["run_ids"]) == {"baseline", "tuned"}


@pytest.mark.parametrize(("content", "complaint"), [("{}", "lacks"), ("null", "must be a JSON object")])
def test_a_headline_of_another_shape_is_named_and_the_old_page_stays(drawn, capsys, content, complaint):
    before = PAGE.read_bytes()
    Path("reports/headlines/sample.json").write_text(content)
    assert run() == 1
    assert f"headlines/sample.json {complaint}" in capsys.readouterr().err
    assert PAGE.read_bytes() == before
