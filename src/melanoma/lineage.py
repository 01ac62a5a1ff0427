"""Lineage of a run: the commit of the code and DVC's hashes of the data.

If git cannot be asked, the tree does not count as clean: the commit is `unknown`, with git's own reason.
"""

import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from melanoma.project import working_tree

UNKNOWN = "unknown"
NOT_THE_LOCKS = (":(top,exclude)dvc.lock", ":(top,exclude)pipelines/study/dvc.lock")
COMMIT_TAG, DIRTY_TAG, PROBLEM_TAG = "git_commit", "git_dirty", "git_problem"
# Before the path of each DVC output. MLflow's pages hide tags that begin with `mlflow.`, so that these many
# hashes crowd out nothing; `python -m pipelines.trace` prints them.
DATA_TAG = "mlflow.melanoma.dvc."
OLD_DATA_TAG = "dvc."  # in runs of earlier versions


def lineage_tags() -> dict[str, str]:
    """Tags of a run: git commit, whether the tree was dirty, and the DVC hash of each data path.

    DVC writes its locks while it runs, so a changed lock does not make the tree dirty.
    """
    data = {f"{DATA_TAG}{path}": digest for path, digest in data_hashes().items() if path.startswith("data/")}
    changed, problem = ask_git("status", "--porcelain", "--untracked-files=no", "--", ":/", *NOT_THE_LOCKS)
    dirty = UNKNOWN if changed is None else str(bool(changed))
    return data | {DIRTY_TAG: dirty} | ({PROBLEM_TAG: problem} if problem else {}) | commit_tags()


def commit_tags() -> dict[str, str]:
    """The tag `git_commit`; if git cannot be asked, `unknown`, and the reason as `git_problem`."""
    commit, problem = ask_git("rev-parse", "HEAD")
    return {COMMIT_TAG: commit} if commit else {COMMIT_TAG: UNKNOWN, PROBLEM_TAG: problem}


def recorded_hashes(tags: Mapping[str, str]) -> dict[str, str]:
    """DVC's hash of each data path by the tags of a run, also of a run of an earlier version."""
    return {
        key.removeprefix(prefix): value
        for prefix in (OLD_DATA_TAG, DATA_TAG)
        for key, value in tags.items()
        if key.startswith(prefix)
    }


def find_commit(commit: str) -> tuple[bool | None, str]:
    """Whether git has a commit; None and the reason if git cannot be asked."""
    head, problem = ask_git("rev-parse", "HEAD")
    if head is None:
        return None, problem
    return _run_git("cat-file", "-e", f"{commit}^{{commit}}")[0] is not None, ""


def ask_git(*arguments: str) -> tuple[str | None, str]:
    """Ask git about the working tree.

    Returns:
        The answer and an empty text; or None and the reason, which is also printed once per process.
    """
    answer, problem = _run_git(*arguments)
    return answer, problem if answer is not None else _warned(problem)


def _run_git(*arguments: str) -> tuple[str | None, str]:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=working_tree(), capture_output=True, text=True, check=False
        )
    except OSError as error:  # git is not installed or not executable
        return None, f"git cannot be run: {error.strerror or error}"
    if done.returncode != 0:
        return None, " ".join(done.stderr.split()) or f"git ended with {done.returncode}"
    return done.stdout.strip(), ""


@cache
def _warned(problem: str) -> str:
    print(
        f"warning: git cannot report the commit of this code ({problem}). Runs get the tag git_commit: "
        f"{UNKNOWN}, and `python -m pipelines.trace` cannot verify them.",
        file=sys.stderr,
    )
    return problem[:1000]


def data_hashes() -> dict[str, str]:
    """DVC's hash of each output in `dvc.lock` and `data/raw/*.dvc`, by path."""
    yaml, top = YAML(typ="safe", pure=True), working_tree()
    outs: list[dict[str, Any]] = []
    lock = top / "dvc.lock"
    if lock.exists():
        stages = (yaml.load(lock) or {}).get("stages", {})
        outs += [out for stage in stages.values() for out in stage.get("outs", [])]
    for pointer in (top / "data/raw").glob("*.dvc"):
        for out in yaml.load(pointer).get("outs", []):
            outs.append(out | {"path": (Path("data/raw") / out["path"]).as_posix()})
    return {out["path"]: out["md5"] for out in outs if "md5" in out}
