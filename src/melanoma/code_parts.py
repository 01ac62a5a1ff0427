"""What the code of a script is made of: modules, definitions, data files and locked packages.

Reads source files and imports none of them. A part of a script is whatever its imports reach, also those
inside functions, within the packages of this project:

* a module, by its syntax tree;
* of `melanoma.config`, only the definitions that are named, because all scripts load all sections;
* a data file that a module names and that lies beside it, by its bytes;
* a library that changes results, by its version in `requirements.lock`.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from melanoma.errors import ConfigError
from melanoma.fingerprint import is_docstring, sha256_of_file, tree_digest

CONFIG = "melanoma.config"
# Checks across sections and reading of the file: these refuse values and never change one.
LOADER = f"{CONFIG}.params"
# By import name: the distributions whose version can change a number, a decision or a model.
RESULT_LIBRARIES = {
    "PIL": ["pillow"],
    "cv2": ["opencv-python-headless"],
    "great_expectations": ["great-expectations"],
    "jax": ["jax"],
    "keras": ["keras", "tensorflow", "tf2onnx"],  # its default backend, and its exporter to ONNX
    "numpy": ["numpy"],
    "onnx": ["onnx"],
    "onnxruntime": ["onnxruntime"],
    "optuna": ["optuna"],
    "pandas": ["pandas"],
    "scipy": ["scipy"],
    "sklearn": ["scikit-learn"],
    "statsmodels": ["statsmodels"],
    "tensorflow": ["tensorflow"],
}


@dataclass(frozen=True)
class Part:
    """A digest or version, and the names of the parts that this one refers to."""

    digest: str
    references: frozenset[str] = frozenset()


class CodeParts:
    """All parts of the code below some package folders.

    They are named like `melanoma.training.fit` (module), `melanoma.config.training:Train` (definition),
    `melanoma/page/templates/page.css` (data file) and `numpy==` (library).
    """

    def __init__(self, packages: Mapping[str, Path], lock: Path) -> None:
        """Read the names of all files, and the locked versions.

        Args:
            packages: Folder by name of package.
            lock: File with a line `distribution==version` for each library.
        """
        self._files = {
            f"{package}/{path.relative_to(folder).as_posix()}": path
            for package, folder in packages.items()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        self._modules = {
            name.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): name
            for name in self._files
            if name.endswith(".py")
        }
        self._folders: dict[str, list[str]] = {}  # names of files by folder
        for name in self._files:
            self._folders.setdefault(name.rpartition("/")[0], []).append(name)
        self._packages = set(packages)
        self._versions: dict[str, set[str]] = {}  # several where the lock has one for each Python
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock.read_text(), flags=re.MULTILINE):
            self._versions.setdefault(name, set()).add(version)
        self._part = cache(self._read_part)
        self._tree = cache(self._parse)

    def closure(self, names: Iterable[str]) -> dict[str, str]:
        """Digests by name of the named parts and of all that they refer to, directly or not."""
        found: dict[str, str] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                part = self._part(name)
                found[name] = part.digest
                waiting += part.references
        return found

    def section(self, key: str) -> set[str]:
        """The innermost class that declares a key of `params.yaml`; none for a section without a class.

        Raises:
            ConfigError: There is no such section.
        """
        declaring: set[str] = set()
        owner = f"{LOADER}:Params"
        for word in key.split("."):
            module, _, title = owner.partition(":")
            field = next((one for one in self._definition(module, title).body if word in _titles(one)), None)
            if field is None and not declaring:
                raise ConfigError(f"{key} is not in a section of params.yaml that {LOADER} declares.")
            bound = {name for name in self._bound_in(field, module) if self._is_class(name)}
            if not bound:
                break
            declaring, owner = bound, min(bound)
        return declaring

    def _read_part(self, name: str) -> Part:
        if name.endswith("=="):
            return Part(", ".join(sorted(self._versions.get(name.removesuffix("=="), {"not locked"}))))
        if name in self._files:
            return Part(sha256_of_file(self._files[name]))
        module, _, title = name.partition(":")
        if module not in self._modules:
            raise ConfigError(f"there is no module {module} in {', '.join(sorted(self._packages))}")
        if not title:
            return Part(tree_digest(self._tree(module)), frozenset(self._references(module)))
        node = self._definition(module, title)
        return Part(tree_digest(node), frozenset(self._bound_in(node, module) - {name}))

    def _parse(self, module: str) -> ast.Module:
        return ast.parse(self._files[self._modules[module]].read_bytes())

    def _definition(self, module: str, title: str) -> Any:
        """The statement at the top of a module that defines a name, or None."""
        return next((node for node in self._tree(module).body if title in _titles(node)), None)

    def _is_class(self, name: str) -> bool:
        return ":" in name and isinstance(self._definition(*name.split(":")), ast.ClassDef)

    def _bound_in(self, node: ast.AST | None, module: str) -> set[str]:
        """The parts behind all names in a statement of a module of `melanoma.config`."""
        nodes = [] if node is None else ast.walk(node)
        words = {one.id if isinstance(one, ast.Name) else getattr(one, "value", None) for one in nodes}
        return {name for word in words if isinstance(word, str) for name in self._bound(module, word)}

    def _bound(self, module: str, title: str) -> Iterator[str]:
        """The parts behind one name that a module of `melanoma.config` defines or imports."""
        if self._definition(module, title) is not None:
            if module != LOADER:
                yield f"{module}:{title}"
            return
        for node in self._tree(module).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    if title == (alias.asname or alias.name):
                        yield from self._imported(node, alias.name)

    def _references(self, module: str) -> Iterator[str]:
        """The packages around a module, and what its imports and strings name, also inside functions."""
        parent = module.rpartition(".")[0]
        if parent and not all(is_docstring(node) for node in self._tree(parent).body):
            yield parent
        folder = self._modules[module].rpartition("/")[0]
        for node in _running(self._tree(module)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    yield from self._imported(node, alias.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from self._named(node.value, folder)

    def _imported(self, node: ast.Import | ast.ImportFrom, name: str) -> Iterator[str]:
        """The parts behind one name of an import statement."""
        source = "" if isinstance(node, ast.Import) else str(node.module)
        module = f"{source}.{name}" if source and f"{source}.{name}" in self._modules else source or name
        if module.partition(".")[0] not in self._packages:
            yield from (f"{library}==" for library in RESULT_LIBRARIES.get(module.partition(".")[0], ()))
        elif not f"{module}.".startswith(f"{CONFIG}."):
            yield module
        elif module == source:
            yield from self._bound(module, name)
        elif module not in (CONFIG, LOADER):
            for definition in self._tree(module).body:
                yield from (f"{module}:{title}" for title in _titles(definition))

    def _named(self, text: str, folder: str) -> Iterator[str]:
        """What a string names: a module, or a program, a file or a folder of data beside its module."""
        path = f"{folder}/{text}"
        if text in self._modules and text not in self._packages:
            yield text
        elif "/" in text:
            return  # a list of paths, as in `melanoma.fingerprint`
        elif path in self._files and path.endswith(".py"):
            yield path.removesuffix(".py").replace("/", ".")
        elif path in self._files:
            yield path
        elif text and not any(name.endswith(".py") for name in self._folders.get(path, ())):
            yield from self._folders.get(path, ())


def _titles(node: ast.AST) -> set[str]:
    """The names that a statement defines; for a field of a section also its alias."""
    match node:
        case ast.ClassDef() | ast.FunctionDef():
            return {node.name}
        case ast.Assign():
            return {
                one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)
            }
        case ast.AnnAssign(target=ast.Name() as target):
            calls = [one for one in ast.walk(node.annotation) if isinstance(one, ast.keyword)]
            aliases = {getattr(one.value, "value", None) for one in calls if one.arg == "alias"}
            return {target.id} | {alias for alias in aliases if isinstance(alias, str)}
    return set()


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            yield node
            waiting += ast.iter_child_nodes(node)
