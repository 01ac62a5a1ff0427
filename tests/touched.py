"""Run the tests that a change touches: run by `make check` as `python -m tests.touched`.

Changed are the files that differ from the merge base with the main branch, and untracked ones. They touch:

* changed test files;
* of a module: the test of its name, and tests that import it, directly or through helpers of tests;
* of a data file beside modules, such as a template: what the modules that name it touch;
* of any other file: tests that name it.

Slow tests, tests that need a folder that takes minutes to build, and tests beyond the time limit are left to
`make test`; the number of these is printed.
"""

import argparse
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import SHARED
from tests.imports import FOLDER_OF_PACKAGE, ROOT, imported_names

MAIN_BRANCHES = ("origin/main", "origin/HEAD", "main")
TESTS = ROOT / "tests"


def main() -> int:
    """Print what was selected, and run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=70, help="no test starts later (default: 70)")
    seconds = parser.parse_args().seconds
    changed = changed_files()
    selected = touched_tests(changed)
    print(f"{len(changed)} changed files touch {len(selected)} test files", flush=True)
    if not selected:
        return 0
    budget = Budget(seconds)
    words = ["-q", "-p", "no:xdist", "-m", "not slow", "--no-header", *map(str, selected)]
    status = pytest.main(words, plugins=[budget])
    if budget.num_left:
        print(f"{budget.num_left} touched tests are left to `make test`")
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else int(status)


def changed_files() -> set[Path]:
    """Files that differ from the merge base with the main branch, and untracked ones; deleted ones too."""
    bases = (_git("merge-base", "HEAD", branch) for branch in MAIN_BRANCHES)
    base = next((found[0] for found in bases if found), "HEAD")
    names = _git("diff", "--name-only", base) + _git("ls-files", "--others", "--exclude-standard")
    return {ROOT / name for name in names}


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def touched_tests(changed: set[Path]) -> list[Path]:
    """The test files that changed files touch: changed ones first, then those of the same name."""
    tests = sorted(TESTS.rglob("test_*.py"))
    modules = {path for path in changed if path.suffix == ".py"}
    data = {path for path in changed - modules if path.is_relative_to(ROOT / "src")}
    modules |= {user for path in data for user in _users(path)}
    importing = {test for path in modules for test in _importing(path)}
    named = {path.name for path in changed - modules}
    ranked = [
        *(test for test in tests if test in changed),
        *(test for test in tests if test.stem in {f"test_{path.stem}" for path in modules}),
        *(test for test in tests if test in importing),
        *(test for test in tests if any(name in test.read_text("utf-8") for name in named)),
    ]
    return list(dict.fromkeys(ranked))


@cache
def _imports() -> dict[Path, set[str]]:
    """What each file of Python imports."""
    folders = (TESTS, *FOLDER_OF_PACKAGE.values())
    return {path: imported_names(path) for folder in folders for path in folder.rglob("*.py")}


def _users(data: Path) -> list[Path]:
    """The modules of the package around a data file that name it, else all of them."""
    package = next(list(folder.glob("*.py")) for folder in data.parents if list(folder.glob("*.py")))
    return [path for path in package if data.name in path.read_text("utf-8")] or package


def _importing(module: Path) -> set[Path]:
    """Files of tests that import a module, through helpers too; if there are none, those of its importers."""
    reached = frontier = {module}
    while frontier:
        importers = _importers(frontier) - reached
        of_tests = {path for path in importers if path.is_relative_to(TESTS)}
        has_tests = any(path.name.startswith("test_") for path in reached | of_tests)
        frontier = of_tests if has_tests else importers
        reached = reached | frontier
    return reached


def _importers(imported: set[Path]) -> set[Path]:
    names = {_name(path) for path in imported}
    return {path for path, found in _imports().items() if found & names}


def _name(path: Path) -> str:
    inner = path.relative_to(ROOT / "src" if path.is_relative_to(ROOT / "src") else ROOT)
    return ".".join(inner.with_suffix("").parts).removesuffix(".__init__")


class Budget:
    """A plugin of pytest that leaves out tests that would take too long.

    Attributes:
        num_left: Number of tests that were left out.
    """

    def __init__(self, seconds: float) -> None:
        """Start the clock."""
        self.num_left = 0
        self._end = time.monotonic() + seconds

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out tests that need a shared folder."""
        kept = [item for item in items if not set(SHARED) & set(getattr(item, "fixturenames", ()))]
        self.num_left += len(items) - len(kept)
        items[:] = kept

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Skip what would begin after the end of the budget."""
        if time.monotonic() > self._end:
            self.num_left += 1
            pytest.skip("left to `make test`")


if __name__ == "__main__":
    sys.exit(main())
