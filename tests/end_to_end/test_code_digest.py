"""What runs again after an edit, in a clone where `dvc repro` has run."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.end_to_end.clone import run

pytestmark = pytest.mark.slow


@contextmanager
def edited(folder, name: str, old: str, new: str) -> Iterator[None]:
    """Replace a text that stands in a file, until the block ends."""
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        (folder / name).write_text(text)


def stale(folder) -> set[str]:
    """Stages whose digest of code is not the one that they ran with."""
    run(folder, "dvc", "repro", "-q", "code")
    status = json.loads(run(folder, "dvc", "status", "--json").splitlines()[-1])
    return {
        stage.partition("@")[0]
        for stage, changes in status.items()
        for change in changes
        if isinstance(change, dict) and "modified" in digests_in(change)
    }


def digests_in(change: dict) -> list[str]:
    """What `dvc status` says of a stage's keys in code.json; none where the stage never ran."""
    told = change.get("changed deps", {}).get("code.json", {})
    return list(told.values()) if isinstance(told, dict) else []


def ran(output: str) -> list[str]:
    """The stages that a `dvc repro` has run, in their order."""
    return [name.partition("@")[0] for name in re.findall(r"^Running stage '(.*)':", output, re.MULTILINE)]


def test_a_second_repro_runs_nothing_but_code(demo_copy):
    assert ran(run(demo_copy, "dvc", "repro")) == ["code"]
    assert json.loads(run(demo_copy, "dvc", "status", "--json", "train@sample")) == {}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("src/melanoma/schema.py", '"""', '"""Edited. '),
        ("src/melanoma/training/fit.py", "\n\n\ndef ", "\n\n\n# a comment\ndef "),
        ("requirements.lock", "matplotlib==", "matplotlib==99."),
    ],
)
def test_a_docstring_a_comment_and_a_library_that_draws_make_no_stage_stale(demo_copy, name, old, new):
    with edited(demo_copy, name, old, new):
        assert stale(demo_copy) == set()


def test_another_tensorflow_makes_stale_what_fits_networks(demo_copy):
    with edited(demo_copy, "requirements.lock", "tensorflow==", "tensorflow==99."):
        assert stale(demo_copy) == {"segment", "tune", "train"}


def test_a_new_bound_of_promote_makes_stale_promote_alone(demo_copy):
    old = "min_malignant_groups: Positive"
    new = "min_malignant_groups: Annotated[int, Field(ge=1, le=10**6)]"
    with edited(demo_copy, "src/melanoma/config/evaluation.py", old, new):
        assert stale(demo_copy) == {"promote"}


def test_a_line_of_train_runs_train_and_what_follows_from_its_outputs_again(demo_copy):
    with edited(demo_copy, "src/melanoma/stages/train.py", "\n\n\ndef ", "\n\n\nEDITED = True\n\n\ndef "):
        assert stale(demo_copy) == {"train"}
        assert ran(run(demo_copy, "dvc", "repro", "train@sample")) == ["code", "train"]
        status = json.loads(run(demo_copy, "dvc", "status", "--json").splitlines()[-1])
    followers = {name.partition("@")[0] for name in status if "/" not in name} - {"code"}
    assert "evaluate" in followers
    assert followers <= {"evaluate", "audit", "promote", "page"}


def test_train_in_a_cold_clone_runs_code_first(demo, tmp_path):
    """What the lock and the cache hold is not run again, so this takes seconds."""
    cold = tmp_path / "cold"
    run(demo, "git", "clone", "-q", str(demo), str(cold))
    assert not (cold / "code.json").exists()
    shutil.copy(demo / "dvc.lock", cold)
    shutil.copytree(demo / ".dvc" / "cache", cold / ".dvc" / "cache")
    run(cold, "dvc", "checkout", "assign")  # it is read before it is written, see pipelines/assign.py
    output = run(cold, "dvc", "repro", "train@sample")
    assert ran(output) == ["code"]
    assert "Stage 'train@sample' is cached" in output
    assert (cold / "models" / "sample" / "tuned").is_dir()
