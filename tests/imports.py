"""Which modules of this project a module imports, directly and through others, read with `ast`."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER_OF_PACKAGE = {"melanoma": ROOT / "src" / "melanoma", "pipelines": ROOT / "pipelines"}


def file_of(module: str) -> Path | None:
    """The file of a module of this project, or None for others."""
    package, *rest = module.split(".")
    if package not in FOLDER_OF_PACKAGE:
        return None
    path = FOLDER_OF_PACKAGE[package].joinpath(*rest)
    if path.is_dir():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").exists() else None


def imported_names(file: Path) -> set[str]:
    """Full names in the import statements of `file`, nested ones too; `from a import b` gives a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def files_behind(file: Path) -> set[Path]:
    """`file` and every file of this project that it needs, without the empty `__init__.py`."""
    needed: set[Path] = set()
    todo = [file]
    while todo:
        current = todo.pop()
        if current in needed:
            continue
        needed.add(current)
        found = (file_of(name) for name in imported_names(current))
        todo += [path for path in found if path is not None]
    return {path for path in needed if path.name != "__init__.py"}
