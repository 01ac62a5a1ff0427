"""Publishing in a small repository of Git and DVC, with a tracking store of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from melanoma import lineage, tracking
from melanoma.fingerprint import sha256_of_file
from melanoma.stages import publish as stage
from melanoma.stages import published
from pipelines import _cli, publish
from tests.imports import ROOT
from tests.page.toys import headline
from tests.pipelines.workspace import inside

FOLDER = Path("reports/published")
GRAPH = """stages:
  code:
    cmd: cp digests.json code.json
    always_changed: true
    outs: [code.json]
  judge:
    cmd: cp source.json reports/duplicates.json
    params: [{code.json: [judge]}]
    deps: [source.json]
    outs: [reports/duplicates.json]
"""
COHORTS = ("sample", "second")
PARAMS = (ROOT / "params.yaml").read_text()
FILES = {
    "source.json": "{}",
    "dvc.yaml": GRAPH,
    "params.yaml": PARAMS.replace("  cohorts: [sample]", "  cohorts: [sample, second]").replace(
        "  sample: [sample]\n", "  sample: [sample]\n  second: [sample]\n"
    ),
    "requirements.lock": "numpy==2\n",
    "digests.json": '{"judge": "a"}',
    ".gitignore": "/code.json\n/reports/*\n!/reports/published/\n/data/\n/mlflow.db*\n/mlruns/\n",
    "README.md": "# Toy\n\n<!-- published: results -->\n<!-- /published -->\n",
    "reports/published/README.md": "<!-- published: note -->\n<!-- /published -->\n",
    "reports/published/old.json": "{}",
    "reports/data/sample.md": "# Data card: sample\n",
    "data/raw/sample/a.jpg": "a",
    **{
        f"data/splits/{cohort}.csv": "image_id,dataset,group_id,target,split\nSYN_1,sample,G1,0,test\n"
        for cohort in COHORTS
    },
    **{f"reports/{cohort}/{name}": "{}" for name in stage.COHORT_FILES for cohort in COHORTS},
}


KINDS = (("headlines", "json"), ("splits", "csv"))


def command(*words: str) -> None:
    identity = {
        f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    subprocess.run(words, check=True, capture_output=True, env=os.environ | identity)


def commit() -> None:
    command("git", "add", "-A")
    command("git", "commit", "-q", "--allow-empty", "-m", "toy")


def run(*more: str) -> int:
    return _cli.run(publish.main, list(more))


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Iterator[Path]:
    """A repository with committed results of two cohorts of one dataset."""
    folder = tmp_path_factory.mktemp("publish")
    with inside(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, text in FILES.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
        command("git", "init", "-q")
        command(sys.executable, "-m", "dvc", "init", "-q")
        command(sys.executable, "-m", "dvc", "repro", "-q")
        commit()
        tags = lineage.lineage_tags()
        run_ids = {}
        for model in ("baseline", "tuned"):
            with tracking.open_run(experiment="toy", name=model, tags=tags) as opened:
                run_ids[model] = opened.run_id
        Path("reports/headlines").mkdir()
        for cohort in COHORTS:
            content = headline(cohort, is_synthetic=True, run_ids=run_ids)
            Path(f"reports/headlines/{cohort}.json").write_text(json.dumps(content))
        yield folder


@pytest.fixture(autouse=True)
def clean(repository):
    """Whatever a test changed is committed or removed again."""
    yield
    command("git", "reset", "-q", "--hard")
    command("git", "clean", "-q", "-fd")


def test_results_of_a_commit_are_published_with_what_is_needed_to_check_them(repository, capsys):
    assert run() == 0
    found = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert found == {
        *(f"{cohort}/{name}" for name in stage.COHORT_FILES for cohort in COHORTS),
        *(f"{folder}/{cohort}.{suffix}" for folder, suffix in KINDS for cohort in COHORTS),
        *("data/sample.md", "duplicates.json", "params.yaml", "code.json", "dvc.lock"),
        *("raw/sample.csv", "origin.json", "index.html", "README.md"),
    }
    origin = json.loads((FOLDER / "origin.json").read_text())
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert origin["git_commit"] == head
    assert len(origin["commits_of_runs"]) == 2
    assert list(origin["parts"]) == ["sample", "second"]
    assert origin["parts"]["sample"]["git_commit"] == head
    assert origin["parts"]["sample"]["params.yaml"] == sha256_of_file(FOLDER / "params.yaml")
    assert origin["parts"]["second"]["code.json"] == sha256_of_file(FOLDER / "code.json")
    assert origin["not_run"] == ["study"]
    assert (FOLDER / "splits/sample.csv").read_text() == "image_id,group_id,split\nSYN_1,G1,test\n"
    assert f"Published results of commit {head[:10]}." in (FOLDER / "README.md").read_text()
    assert "| sample (SYNTHETIC) | 1040 (8) |" in Path("README.md").read_text()
    assert "documents that changed: README.md, README.md" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "is_concerned"),
    [
        ("duplicates", True),
        ("validate@isic", True),
        ("validate@ph2", True),
        ("validate@ham10000", False),
        ("train@joint", True),
        ("train@isic", False),  # a cohort with the name of a dataset of joint
        ("train@ph2", False),
    ],
)
def test_a_cohort_needs_its_own_stages_and_those_of_its_datasets(name, is_concerned):
    assert stage._Chosen(["joint"], ["joint"], ["isic", "ph2"]).concerns(name) == is_concerned


def test_a_page_that_is_drawn_again_is_the_same_and_results_can_be_published_again(repository):
    assert run() == 0
    page = (FOLDER / published.PAGE).read_bytes()
    assert run("--redraw") == 0
    assert (FOLDER / published.PAGE).read_bytes() == page
    command("git", "checkout", "README.md")
    assert run() == 0


@pytest.mark.parametrize("name", ["params.yaml", "new.txt"])
def test_a_file_that_is_not_committed_is_refused(repository, capsys, name):
    with Path(name).open("a") as stream:
        stream.write("\n")
    assert run() == 1
    assert f"these files are not committed: {name}. Commit" in capsys.readouterr().err
    assert (FOLDER / "old.json").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("source.json", '{"changed": 1}'), ("digests.json", '{"judge": "b"}')]
)
def test_results_of_a_stage_whose_input_or_code_changed_are_refused_until_it_ran_again(
    repository, capsys, name, text
):
    Path(name).write_text(text)
    commit()
    assert run() == 1
    assert "stale stages of dvc.yaml: judge. Run `dvc repro dvc.yaml` or" in capsys.readouterr().err
    command(sys.executable, "-m", "dvc", "repro", "-q")
    commit()
    assert run() == 0


def test_a_run_of_uncommitted_code_is_refused(repository, capsys):
    run_id = json.loads(Path("reports/headlines/sample.json").read_text())["run_ids"]["tuned"]
    store = tracking.client()
    store.set_tag(run_id, lineage.DIRTY_TAG, "True")
    assert run() == 1
    assert f"made with uncommitted changes: run {run_id}. Commit" in capsys.readouterr().err
    store.set_tag(run_id, lineage.DIRTY_TAG, "False")
    assert run() == 0


def test_a_report_that_names_a_run_of_uncommitted_code_is_refused(repository, capsys):
    report = Path("reports/sample/seeds.json")
    for value, code in (("True", 1), ("False", 0)):
        report.write_text(json.dumps({"runs": [{"git_dirty": value}]}))
        assert run() == code
    assert "made with uncommitted changes: reports/sample/seeds.json" in capsys.readouterr().err


def test_a_missing_report_is_named_and_the_published_results_stay(repository, capsys):
    report = Path("reports/sample/audit.json")
    report.unlink()
    assert run() == 1
    assert "reports/sample/audit.json does not exist" in capsys.readouterr().err
    assert (FOLDER / "old.json").exists()
    report.write_text("{}")


# ---- cohorts one by one ----------------------------------------------------------------------


def origin_of() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / "origin.json").read_text())
    return content


def test_cohorts_are_published_one_by_one_and_what_is_missing_was_not_run(repository):
    assert run("--cohort", "sample") == 0
    assert not (FOLDER / "second").exists()
    assert "| second | not run | - |" in Path("README.md").read_text()
    assert "Not run: second, study." in (FOLDER / published.PAGE).read_text()
    first = (FOLDER / "headlines/sample.json").read_bytes()
    commit()
    assert run("--cohort", "second") == 0
    assert (FOLDER / "headlines/sample.json").read_bytes() == first
    origin = origin_of()
    commits = [part["git_commit"] for part in origin["parts"].values()]
    assert list(origin["parts"]) == ["sample", "second"]
    assert len(set(commits)) == 2
    assert origin["note"] == (
        "Published results, from one code.json and one params.yaml: "
        f"sample of commit {commits[0][:10]}; second of commit {commits[1][:10]}."
    )
    page = (FOLDER / published.PAGE).read_text()
    assert "Not run: study." in page
    assert all(found in page for found in commits)
    assert "not run" not in Path("README.md").read_text()


def test_a_cohort_of_other_code_is_refused_and_the_way_out_removes_the_older_results(repository, capsys):
    assert run("--cohort", "sample") == 0
    page = (FOLDER / published.PAGE).read_bytes()
    Path("digests.json").write_text('{"judge": "another"}')
    commit()
    command(sys.executable, "-m", "dvc", "repro", "-q")
    commit()
    assert run("--cohort", "second") == 1
    message = capsys.readouterr().err
    assert "second cannot be added to the published results of sample" in message
    assert "code.json differs in the stages judge" in message
    assert "--replace" in message
    assert (FOLDER / published.PAGE).read_bytes() == page
    assert not (FOLDER / "second").exists()
    assert run("--cohort", "second", "--replace") == 0
    assert list(origin_of()["parts"]) == ["second"]
    assert not (FOLDER / "sample").exists()
    assert (FOLDER / "README.md").exists()
    commit()
    assert run() == 0  # all cohorts of one state need no other way


def test_the_option_may_be_repeated(repository):
    assert run("--cohort", "sample", "--cohort", "second") == 0
    assert list(origin_of()["parts"]) == ["sample", "second"]


def test_a_cohort_that_is_not_active_is_refused_with_the_active_ones(repository, capsys):
    before = sorted(FOLDER.rglob("*"))
    assert run("--cohort", "isic") == 1
    assert "(sample, second, study), got isic" in capsys.readouterr().err
    assert sorted(FOLDER.rglob("*")) == before


# ---- the study, with the stages that were run ------------------------------------------------

STUDY = """stages:
  paper:
    wdir: ../..
    cmd: mkdir -p reports/study/results && cp source.json reports/study/results/paper.json
    deps: [source.json]
    outs: [reports/study/results/paper.json]
  resplit:
    foreach: [sample, second]
    do:
      wdir: ../..
      cmd: mkdir -p reports/study/resplit && cp source.json reports/study/resplit/${item}.json
      deps: [source.json]
      outs: ["reports/study/resplit/${item}.json"]
"""


@pytest.fixture
def study(repository) -> Iterator[None]:
    """The graph of a study of which no stage was run."""
    Path(stage.STUDY_GRAPH).parent.mkdir(parents=True)
    Path(stage.STUDY_GRAPH).write_text(STUDY)
    commit()
    yield
    shutil.rmtree("pipelines")
    shutil.rmtree("reports/study", ignore_errors=True)
    commit()


def run_stage(name: str) -> None:
    command(sys.executable, "-m", "dvc", "repro", "-q", f"{stage.STUDY_GRAPH}:{name}")
    commit()


def test_the_study_is_published_with_the_stages_that_were_run_and_the_others_are_named(study):
    run_stage("resplit@sample")
    assert run("--cohort", "study") == 0
    assert (FOLDER / "study/resplit/sample.json").is_file()
    assert origin_of()["not_run_of_study"] == ["paper", "resplit@second"]
    line = "Stages of the study that were not run: paper, resplit@second."
    assert line in (FOLDER / published.PAGE).read_text()
    commit()
    assert run("--cohort", "sample") == 0  # a cohort that is added leaves the study as it is
    assert line in (FOLDER / published.PAGE).read_text()
    commit()
    run_stage("resplit@second")
    assert run("--cohort", "study") == 0
    assert origin_of()["not_run_of_study"] == ["paper"]
    assert (FOLDER / "study/resplit/second.json").is_file()
    commit()
    Path(stage.STUDY_GRAPH).write_text(STUDY.replace("[sample, second]", "[sample]"))
    commit()
    assert run("--cohort", "study") == 0
    assert not (FOLDER / "study/resplit/second.json").exists()  # of no stage any more


def test_a_study_without_a_stage_that_was_run_is_refused_with_the_command(study, capsys):
    assert run("--cohort", "study") == 1
    expected = "No stage of pipelines/study/dvc.yaml was run. Run one, for instance `dvc repro "
    assert expected in capsys.readouterr().err
    run_stage("paper")
    assert run("--cohort", "study") == 0


def test_a_stage_of_the_study_that_is_stale_or_whose_results_are_gone_is_refused(study, capsys):
    run_stage("resplit@sample")
    result = Path("reports/study/resplit/sample.json")
    content = result.read_text()
    result.write_text(f"{content} ")
    assert run("--cohort", "study") == 1
    assert "stale stages of pipelines/study/dvc.yaml: " in capsys.readouterr().err
    result.unlink()  # the lock file names it
    assert run("--cohort", "study") == 1
    assert "resplit@sample" in capsys.readouterr().err
    result.write_text(content)
    assert run("--cohort", "study") == 0
    stray = Path("reports/study/results/paper.json")  # not of a stage that was run
    stray.parent.mkdir()
    stray.write_text("{}")
    assert run("--cohort", "study") == 1
    assert "pipelines/study/dvc.yaml:paper" in capsys.readouterr().err
