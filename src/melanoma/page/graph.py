"""The stages of `dvc.yaml` and their order, read from the file itself."""

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
class Node:
    """A stage of the graph; a stage with a loop is one node.

    Attributes:
        name: Name without an item.
        loop: Parameter that the stage loops over, for instance `run.cohorts`; empty without a loop.
        items: Items of the loop in this run.
        does: First sentence of the script's docstring; empty without a docstring.
        after: Stages that it needs directly, without those that these need themselves.
        writes: Outputs, with `${item}` as in the file.
    """

    name: str
    loop: str
    items: tuple[str, ...]
    does: str
    after: tuple[str, ...]
    writes: tuple[str, ...]

    @property
    def outputs(self) -> list[str]:
        """The outputs, one for each item."""
        if not self.loop:
            return list(self.writes)
        return [path.replace(ITEM, item) for path in self.writes for item in self.items]


def read_graph(
    definition: Mapping[str, Any],
    *,
    active: Mapping[str, Sequence[str]],
    known: Sequence[str],
    root: Path,
) -> list[Node]:
    """All stages, each after those that it needs.

    Args:
        definition: Content of `dvc.yaml`.
        active: Items by loop parameter, for instance `{"run.cohorts": ["ph2"]}`.
        known: Names of all datasets and cohorts, that is, all values of `${item}`.
        root: Folder in which the modules of the commands are found.
    """
    found = definition["stages"]
    bodies = {name: stage.get("do", stage) for name, stage in found.items()}
    writes = {name: _outputs(body) for name, body in bodies.items()}
    needs = {
        name: {other for other in bodies if other != name and _meet(writes[other], _inputs(body), known)}
        for name, body in bodies.items()
    }
    loops = {name: _loop(stage.get("foreach", "")) for name, stage in found.items()}
    return [
        Node(
            name=name,
            loop=loops[name],
            items=tuple(active.get(loops[name], ())),
            does=_first_sentence(root, bodies[name]["cmd"]),
            after=tuple(sorted(_direct_needs(name, needs))),
            writes=tuple(writes[name]),
        )
        for name in sorted(needs, key=lambda name: len(_all_needs(name, needs)))
    ]


def layers(nodes: Sequence[Node]) -> list[list[Node]]:
    """The nodes in rows: each one below all that it needs, as far up as possible."""
    row: dict[str, int] = {}
    for node in nodes:
        row[node.name] = max((row[need] + 1 for need in node.after), default=0)
    return [
        [node for node in nodes if row[node.name] == at] for at in range(max(row.values(), default=-1) + 1)
    ]


def _loop(text: str) -> str:
    found = LOOP.search(text)
    return found.group(1) if found else ""


def _names(items: list[Any]) -> list[str]:
    return [str(next(iter(item)) if isinstance(item, dict) else item) for item in items]


def _inputs(body: Mapping[str, Any]) -> list[str]:
    """Dependencies, and the files whose values are parameters (`code.json`)."""
    files = [name for item in body.get("params", []) if isinstance(item, dict) for name in item]
    return [*_names(body.get("deps", [])), *files]


def _outputs(body: Mapping[str, Any]) -> list[str]:
    return [path for kind in OUTPUT_KINDS for path in _names(body.get(kind, []))]


def _meet(outputs: Sequence[str], inputs: Sequence[str], known: Sequence[str]) -> bool:
    """Whether an output equals, holds or lies in an input, for any dataset or cohort."""
    return any(
        _overlap(one.replace(ITEM, first), other.replace(ITEM, second))
        for one, other in product(outputs, inputs)
        for first in (known if ITEM in one else [""])
        for second in (known if ITEM in other else [""])
    )


def _overlap(one: str, other: str) -> bool:
    shorter, longer = sorted((one.split("/"), other.split("/")), key=len)
    return longer[: len(shorter)] == shorter


def _direct_needs(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    return needs[name] - {far for near in needs[name] for far in _all_needs(near, needs)}


def _all_needs(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = list(needs[name])
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            todo += needs[other]
    return found


def _first_sentence(root: Path, command: str) -> str:
    """The first sentence of a script's docstring, without the name of the stage."""
    module = MODULE.search(command)
    path = root.joinpath(*module.group(1).split(".")).with_suffix(".py") if module else root
    if not path.is_file():
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return FIRST_WORDS.sub("", " ".join(text.split("\n\n")[0].split())).replace("`", "")
