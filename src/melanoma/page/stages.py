"""The stages of `dvc.yaml` and which follows which: from the file itself, so that nobody draws it twice."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

ITEM = "${item}"
OUTPUT_KINDS = ("outs", "metrics", "plots")
LOOP = re.compile(r"\$\{(\w+\.\w+)\}")
MODULE = re.compile(r"python -m (\S+)")
FIRST_WORDS = re.compile(r"^Stage `\w+`: ")


@dataclass(frozen=True)
class Stage:
    """A stage, or all instances of one that is a loop.

    Attributes:
        name: Without an item.
        loop: The parameter whose items it runs for, for instance `run.cohorts`; empty where it runs once.
        items: For which it runs now.
        does: What its script says of itself; empty where there is none.
        after: The stages that it needs directly; those that they need themselves are left out.
        writes: Its outputs, with `${item}` as in the file.
    """

    name: str
    loop: str
    items: tuple[str, ...]
    does: str
    after: tuple[str, ...]
    writes: tuple[str, ...]

    @property
    def is_active(self) -> bool:
        """Whether it runs at all."""
        return not self.loop or bool(self.items)

    def expand(self, path: str) -> list[str]:
        """An output for each item."""
        return [path.replace(ITEM, item) for item in self.items] if self.loop else [path]


def read_stages(
    definition: Mapping[str, Any],
    *,
    active: Mapping[str, Sequence[str]],
    known: Sequence[str],
    root: Path,
) -> list[Stage]:
    """All stages, each after those that it needs.

    Args:
        definition: The content of `dvc.yaml`.
        active: Items by parameter of a loop, for instance `{"run.cohorts": ["ph2"]}`.
        known: Names of datasets and cohorts: what `${item}` can stand for, active or not.
        root: Where the scripts of the commands lie.
    """
    found = definition["stages"]
    bodies = {name: stage.get("do", stage) for name, stage in found.items()}
    writes = {name: _outputs(body) for name, body in bodies.items()}
    needs = {
        name: {
            other
            for other in bodies
            if other != name and _meet(writes[other], _paths(body.get("deps", [])), known)
        }
        for name, body in bodies.items()
    }
    loops = {name: _loop(stage.get("foreach", "")) for name, stage in found.items()}
    return [
        Stage(
            name=name,
            loop=loops[name],
            items=tuple(active.get(loops[name], ())),
            does=_says(root, bodies[name]["cmd"]),
            after=tuple(sorted(_without_detours(name, needs))),
            writes=tuple(writes[name]),
        )
        for name in _in_order(needs)
    ]


def _loop(text: str) -> str:
    found = LOOP.search(text)
    return found.group(1) if found else ""


def _paths(items: list[Any]) -> list[str]:
    return [str(next(iter(item)) if isinstance(item, dict) else item) for item in items]


def _outputs(body: Mapping[str, Any]) -> list[str]:
    return [path for kind in OUTPUT_KINDS for path in _paths(body.get(kind, []))]


def _meet(outputs: Sequence[str], inputs: Sequence[str], known: Sequence[str]) -> bool:
    """Whether an output is, holds, or lies in an input, whatever dataset or cohort it is of."""
    return any(
        _overlap(one.replace(ITEM, first), other.replace(ITEM, second))
        for one, other in product(outputs, inputs)
        for first in (known if ITEM in one else [""])
        for second in (known if ITEM in other else [""])
    )


def _overlap(one: str, other: str) -> bool:
    shorter, longer = sorted((one.split("/"), other.split("/")), key=len)
    return longer[: len(shorter)] == shorter


def _without_detours(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    """What a stage needs directly and not through another stage that it needs as well."""
    through = {far for near in needs[name] for far in _behind(near, needs)}
    return needs[name] - through


def _behind(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    """All that a stage needs, however far back."""
    found: set[str] = set()
    todo = list(needs[name])
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            todo += needs[other]
    return found


def _in_order(needs: Mapping[str, set[str]]) -> list[str]:
    """Each stage after those it needs; otherwise as they stand in the file (DVC allows no circle)."""
    place = {name: at for at, name in enumerate(needs)}
    return sorted(needs, key=lambda name: (len(_behind(name, needs)), place[name]))


def _says(root: Path, command: str) -> str:
    """The first sentence of a script about itself, without the name of the stage."""
    module = MODULE.search(command)
    path = root.joinpath(*module.group(1).split(".")).with_suffix(".py") if module else root
    if not path.is_file():
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return FIRST_WORDS.sub("", " ".join(text.split("\n\n")[0].split())).replace("`", "")
