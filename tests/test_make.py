"""Every test is run by `make test` or by `make test-slow`, and `pre-commit` runs what `make lint` runs."""

import re
import subprocess

import pytest
from ruamel.yaml import YAML

from tests.imports import ROOT

END_TO_END = ROOT / "tests" / "end_to_end"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def recipe(target: str) -> list[str]:
    """The commands of a target, with `$(PYTEST)` as it is written."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)
    assert found, target
    return [line.strip() for line in found[1].splitlines()]


def prerequisites(target: str) -> list[str]:
    found = re.search(rf"^{target}:([^#\n]*)", MAKEFILE, flags=re.MULTILINE)
    assert found, target
    return found[1].split()


def test_each_test_is_selected_by_exactly_one_of_the_two_targets():
    assert recipe("test") == ['$(PYTEST) -m "not slow"']
    assert recipe("test-slow") == ["$(PYTEST) -m slow"]
    assert recipe("test-all") == ["$(PYTEST)"]


@pytest.mark.parametrize("target", ["test", "test-all"])
def test_linters_run_before_the_tests(target):
    assert prerequisites(target) == ["lint"]


@pytest.mark.parametrize("target", ["page", "plots"])
def test_results_are_needed_before_they_are_drawn(target):
    assert recipe(target)[0] == "@python -m pipelines._needs"


def test_ci_runs_the_fast_tests_and_then_the_slow_ones():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make test", "make test-slow"]
    assert "set -euo pipefail" in lines


def test_a_test_process_that_dies_ends_the_run():
    assert re.search(r"^PYTEST = .* --max-worker-restart 0$", MAKEFILE, flags=re.MULTILINE)


@pytest.mark.parametrize("name", sorted(path.name for path in END_TO_END.glob("test_*.py")))
def test_whatever_runs_the_whole_project_is_marked_slow(name):
    text = (END_TO_END / name).read_text(encoding="utf-8")
    assert re.search(r"^pytestmark = .*pytest\.mark\.slow", text, flags=re.MULTILINE)


def test_pre_commit_runs_the_linters_from_this_environment():
    configuration = YAML(typ="safe", pure=True).load(ROOT / ".pre-commit-config.yaml")
    (repository,) = configuration["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == recipe("lint")
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_help_lists_every_described_target_in_a_group():
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    groups = [block.splitlines() for block in shown.strip().split("\n\n")]
    assert [group[0] for group in groups] == re.findall(r"^##@ (.+)$", MAKEFILE, flags=re.MULTILINE)
    listed = re.findall(r"^  make ([a-z-]+) +\S", shown, flags=re.MULTILINE)
    described = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE)
    assert listed == described
    phony = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, flags=re.MULTILINE)
    assert sorted(listed) == sorted(set(phony) - {"help"})
    assert max(map(len, shown.splitlines())) <= 110
