"""One digest for each stage, over the code and the libraries behind its script.

DVC does not follow imports: each stage of `dvc.yaml` depends on its digest in `code.json` instead.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from melanoma.code_parts import CodeParts
from melanoma.errors import ConfigError

OWN = "code"  # the stage that writes the digests depends on none
PARTS = "parts"  # in code.json beside the stages: what `explain` compares with


def read_stages(graphs: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The stages of several `dvc.yaml`, by name; of a loop, what it repeats."""
    stages: dict[str, dict[str, Any]] = {}
    for graph in graphs:
        for name, stage in yaml.safe_load(graph.read_text(encoding="utf-8"))["stages"].items():
            if name in stages:
                raise ConfigError(f"The stage {name} is in {graph} and in another graph. Rename one.")
            stages[name] = stage.get("do", stage)
    return {name: stage for name, stage in stages.items() if name != OWN}


def parts_of(stage: Mapping[str, Any], code: CodeParts) -> dict[str, str]:
    """Digests by name of all parts behind a stage: its script and its sections of `params.yaml`."""
    script = re.search(r"-m (pipelines\.\S+)", stage["cmd"])
    if script is None:
        raise ConfigError(f"a stage must run `python -m pipelines.<script>`, got {stage['cmd']!r}")
    keys = [key for key in stage.get("params", ()) if isinstance(key, str)]
    return code.closure({script[1]}.union(*(code.section(key) for key in keys)))


def digest(parts: Mapping[str, str]) -> str:
    """Hex digest of names and digests of parts."""
    lines = [f"{name} {part}" for name, part in sorted(parts.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write(stages: Mapping[str, dict[str, Any]], code: CodeParts, path: Path) -> dict[str, str]:
    """Write the digest of each stage, and of each part behind any of them, to `path`.

    Returns:
        The digests by stage.
    """
    parts = {name: parts_of(stage, code) for name, stage in stages.items()}
    digests = {name: digest(own) for name, own in parts.items()}
    every = {name: part for own in parts.values() for name, part in own.items()}
    content = digests | {PARTS: dict(sorted(every.items()))}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return digests


def explain(stage: Mapping[str, Any], code: CodeParts, path: Path) -> list[str]:
    """Lines for people: all parts of a stage, marked where they differ from those in the file `path`."""
    parts = sorted(parts_of(stage, code).items())
    if not path.exists():
        nothing = f"No part is marked as changed, because {path} does not exist. `dvc repro code` writes it."
        return [nothing, *(_describe(name, part, part) for name, part in parts)]
    before = json.loads(path.read_bytes())[PARTS]
    return [_describe(name, part, before.get(name)) for name, part in parts]


def _describe(name: str, part: str, before: str | None) -> str:
    is_library = name.endswith("==")
    was = f", was {before}" if is_library and before not in (None, part) else ""
    return f"{'  ' if part == before else '* '}{name}{part if is_library else ''}{was}"
