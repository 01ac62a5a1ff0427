"""Run `dvc repro` after checks of problems for which DVC does not name a fix.

Run as `python -m pipelines._repro [STAGE]` by the entry points of MLproject and by `make demo`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.config import Config

from melanoma import config, project
from melanoma.errors import ConfigError, DataError
from pipelines import _cli, relocate

OPTION = "--"


def main(argv: Sequence[str] | None = None) -> int:
    """Check, then become `dvc repro`."""
    words = list(sys.argv[1:] if argv is None else argv)
    at = 0 if not words or words[0].startswith(OPTION) else 1
    stage, undeclared = words[:at], words[at:]
    tree = project.working_tree()
    if undeclared:
        sections = config.read_yaml(tree / "params.yaml")
        raise ConfigError(_use_experiment(stage[0] if stage else "", undeclared, sections))
    require_scm(tree)
    relocate.main(["--check"])
    if (cache := project.cache_of_main_worktree(tree)) is not None:
        _cli.say("repro", f"warning: {project.how_to_share(cache)}")
    sys.stdout.flush()
    os.execvp("dvc", ["dvc", "repro", *stage])  # noqa: S606  takes the place of this process


def require_scm(tree: Path) -> None:
    """Raise a `DataError` with the cure where DVC would refuse a project without git."""
    is_in_git = any((folder / ".git").exists() for folder in (tree, *tree.parents))
    if not is_in_git and (tree / ".dvc").is_dir() and not Config(str(tree / ".dvc"))["core"].get("no_scm"):
        raise DataError(
            f"{tree} is not in a git repository, which DVC requires. Clone the project with git, or disable "
            "this once: `dvc config --local core.no_scm true`."
        )


def _use_experiment(stage: str, undeclared: list[str], sections: dict[str, Any]) -> str:
    """What to run for parameters that no entry point takes, so that MLflow passed on `--name value`."""
    names = [word.removeprefix(OPTION) for word in undeclared[::2]]
    given = dict(zip(names, undeclared[1::2], strict=False))
    commands = []
    for name in names:
        holders = [section for section, content in sections.items() if name in (content or {})]
        section = stage if stage in holders or not holders else holders[0]
        full = name if "." in name or not section else f"{section}.{name}"
        commands.append(
            f"mlflow run . -e experiment -P set={full}={given.get(name, '…')} --env-manager local"
        )
    return (
        f"The entry point {stage or 'main'} has no parameter {', '.join(names)}: hyperparameters are in "
        f"params.yaml. To run with another value: {'; '.join(commands)}"
    )


if __name__ == "__main__":
    sys.exit(_cli.run(main))
