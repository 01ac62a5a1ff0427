"""The project's top folder and the address of its tracking store.

A project has one store, wherever a command runs: a relative SQLite address is resolved from the project's top
folder, also in subfolders, below `mlflow run` and in DVC's copies for experiments. Does not import MLflow.
"""

import os
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import psutil

STORE = "mlflow.db"  # also MLflow's default
DEFAULT_URI = f"sqlite:///{STORE}"
MARKS = (".dvc", "MLproject")  # found only in the top folder of a project
EXPERIMENTS = (".dvc", "tmp", "exps")  # `dvc exp run --temp` and `--queue` work on copies below it
SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!:memory:|file:)([^?]+)(\?.*)?")


def working_tree() -> Path:
    """The top folder of the project around the current folder.

    Outside of any project it is the project of the running script, or else the current folder.
    """
    here = Path.cwd()
    script = getattr(sys.modules["__main__"], "__file__", None)
    of_script = Path(script).resolve().parents[1:2] if script else []
    for folder in (here, *here.parents, *of_script):
        if any((folder / mark).exists() for mark in MARKS):
            return folder
    return here


def project_top() -> Path:
    """The top folder of the project, also in DVC's copies for queued and temporary experiments."""
    tree = working_tree()
    parts = tree.parts
    for at in range(1, len(parts) - len(EXPERIMENTS) + 1):
        if parts[at : at + len(EXPERIMENTS)] == EXPERIMENTS:
            return Path(*parts[:at])
    root = os.environ.get("DVC_ROOT")  # if .dvc/tmp is a link; DVC sets it in experiments
    return Path(root) if root and "DVC_EXP_NAME" in os.environ else tree


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the project's own store; relative SQLite paths start at the top folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    match = SQLITE.fullmatch(uri)
    if match is None:
        return uri
    path = _unquoted(match[2])
    if Path(path).name == STORE and _is_default_of_mlflow_run(Path(path)):
        path = STORE
    return f"{match[1]}{os.path.normpath(project_top() / path)}{match[3] or ''}"


def _unquoted(path: str) -> str:
    """Undo the quoting of `mlflow run`: it passes `/a%20b/mlflow.db` for the folder `a b`."""
    plain = unquote(path)
    is_quoted = plain != path and Path(plain).parent.is_dir() and not Path(path).is_file()
    return plain if is_quoted else path


def _is_default_of_mlflow_run(path: Path) -> bool:
    """Whether `path` is a default that `mlflow run` derived from its current folder, not a user's choice.

    It is kept for a project that `mlflow run` fetched into a temporary folder, which must not hold a store.
    """
    if "MLFLOW_RUN_ID" not in os.environ or _is_fetched(project_top()):
        return False
    with suppress(psutil.Error, OSError):
        for parent in psutil.Process().parents():
            environment = parent.environ()
            if "MLFLOW_RUN_ID" not in environment:
                return not environment.get("MLFLOW_TRACKING_URI") and path.parent == Path(parent.cwd())
    return False


def _is_fetched(top: Path) -> bool:
    """Whether `mlflow run` has just cloned the project into a temporary folder of Python."""
    temporary = Path(tempfile.gettempdir()).resolve()
    inside = top.relative_to(temporary).parts[:1] if top.is_relative_to(temporary) else ()
    return any(re.fullmatch(r"tmp\w{8}", name) for name in inside) and not (top / STORE).exists()


def file_of(uri: str) -> Path | None:
    """The file of a SQLite store; None for other stores."""
    match = SQLITE.fullmatch(uri)
    return Path(match[2]) if match else None


def cache_of_main_worktree(tree: Path) -> Path | None:
    """DVC's cache of the main checkout if `tree` is a git worktree with an empty cache, else None."""
    pointer, own = tree / ".git", tree / ".dvc" / "cache"
    if not pointer.is_file() or any(path.is_file() for path in own.rglob("*")):
        return None
    git_folder = Path(pointer.read_text(encoding="utf-8").strip().removeprefix("gitdir: "))
    cache = git_folder.parents[2] / ".dvc" / "cache"  # below .git/worktrees/<name>
    local = tree / ".dvc" / "config.local"
    is_set = local.is_file() and "dir =" in local.read_text(encoding="utf-8")
    is_worktree = git_folder.parent.name == "worktrees"
    return cache if is_worktree and cache.is_dir() and not is_set else None


def how_to_share(cache: Path) -> str:
    """How to use the main checkout's DVC cache in a git worktree."""
    return (
        "This git worktree has an empty DVC cache. To use the cache of the main checkout: `dvc cache dir "
        f"--local {cache}`, then `dvc checkout`."
    )
