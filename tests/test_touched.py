import subprocess
from types import SimpleNamespace

import pytest

from tests import touched
from tests.imports import ROOT


@pytest.mark.parametrize(
    ("changed", "first", "also"),
    [
        ("src/melanoma/evaluation/gate.py", "evaluation/test_gate.py", "evaluation/test_model_card.py"),
        (
            "src/melanoma/evaluation/model_card.md.j2",
            "evaluation/test_model_card.py",
            None,
        ),
        (
            "src/melanoma/page/templates/parts.html.j2",
            None,
            "page/test_render.py",
        ),
        ("src/melanoma/stages/needs.py", "pipelines/test_needs.py", "stages/test_needs.py"),
        ("src/melanoma/stages/promote.py", "pipelines/test_promote.py", None),
        ("pipelines/history.py", "pipelines/test_history.py", "pipelines/test_relocate.py"),
        ("tests/registry/shelf.py", None, "registry/test_moves.py"),
        ("tests/test_make.py", "test_make.py", None),
        ("README.md", None, "test_documents.py"),
        ("Makefile", None, "test_make.py"),
    ],
)
def test_a_change_touches_the_tests_of_its_name_first_and_those_that_use_it(changed, first, also):
    found = [path.relative_to(touched.TESTS).as_posix() for path in touched.touched_tests({ROOT / changed})]
    assert first in (None, found[0])
    assert also in (None, *found)
    assert "models/test_vgg16.py" not in found


def test_a_file_that_nothing_uses_touches_no_test():
    assert touched.touched_tests({ROOT / f"named-{'nowhere'}.csv"}) == []


def test_changed_are_committed_uncommitted_and_untracked_files(tmp_path, monkeypatch):
    def git(*words: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(touched, "ROOT", tmp_path)
    git("init", "--initial-branch", "main")
    for name in ("same", "committed", "uncommitted"):
        (tmp_path / name).write_text("before")
    git("add", ".")
    git("commit", "-m", "before")
    assert touched.changed_files() == set()
    git("checkout", "-b", "work")
    (tmp_path / "committed").write_text("after")
    git("commit", "-a", "-m", "after")
    (tmp_path / "uncommitted").write_text("after")
    (tmp_path / "untracked").write_text("after")
    assert touched.changed_files() == {tmp_path / name for name in ("committed", "uncommitted", "untracked")}


def test_what_needs_a_shared_folder_or_begins_too_late_is_left_and_counted():
    quick, long = (SimpleNamespace(fixturenames=[name]) for name in ("tmp_path", "workspace"))
    items = [quick, long]
    budget = touched.Budget(seconds=60)
    budget.pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    assert items == [quick]
    budget.pytest_runtest_setup()
    assert budget.num_left == 1

    late = touched.Budget(seconds=0)
    with pytest.raises(pytest.skip.Exception, match="left to `make test`"):
        late.pytest_runtest_setup()
    assert late.num_left == 1
