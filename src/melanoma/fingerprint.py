"""Digests of code, and of a served model: of the code that computes its answers, and of all its files.

Digests of code are computed over syntax trees: changed comments, docstrings and line breaks do not count.
This module travels with the model. A model's folder cannot vouch for itself, so the registry keeps both
digests as tags of the version.
"""

import ast
import hashlib
from collections.abc import Callable
from pathlib import Path

import melanoma

FILES_TAG, CODE_TAG = "files_sha256", "code_sha256"  # tags of a registered version
CODE_FOLDER = "code"  # in an MLflow model: the copy of `code_paths`
BYTECODE = "__pycache__"  # written by Python beside imported code
# MLflow rewrites this file whenever it loads a registered version.
REGISTERED_META = "registered_model_meta"
# All modules of the package that the scorer imports; a test compares them with its import statements.
DECIDING_FOLDERS = ("scoring", "serving")
DECIDING_MODULES = (
    "data/crops.py",
    "data/damage.py",
    "data/images.py",
    "data/plausibility.py",
    "data/signatures.py",
    "errors.py",
    "fingerprint.py",
    "schema.py",
)


def digest_of_code(package: Path | None = None) -> str:
    """Hex digest of the code that turns a request into an answer.

    Args:
        package: Folder of a `melanoma` package, for instance the one that travels with a model. Default: the
            package that this process has imported.
    """
    package = package or Path(melanoma.__file__).parent
    modules = [path for folder in DECIDING_FOLDERS for path in package.joinpath(folder).glob("*.py")]
    modules += [path for name in DECIDING_MODULES if (path := package / name).is_file()]
    return _digest(modules, package, syntax_digest)


def syntax_digest(module: Path) -> str:
    """Hex digest of what a module does: its syntax tree without comments, docstrings and layout.

    The same for each version of Python, unlike `ast.dump`. A module that this Python cannot parse is digested
    by its bytes.
    """
    source = module.read_bytes()
    try:
        return tree_digest(ast.parse(source))
    except SyntaxError:
        return hashlib.sha256(source).hexdigest()


def tree_digest(tree: ast.AST) -> str:
    """Hex digest of a syntax tree without comments, docstrings and layout."""
    words: list[str] = []
    _spell(tree, words)
    return hashlib.sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest()


def _spell(node: object, words: list[str]) -> None:
    """Append the types and fields of `node` and of all below it; empty fields differ between Pythons."""
    if isinstance(node, ast.AST):
        words.append(type(node).__name__)
        for field in node._fields:
            value = getattr(node, field, None)
            if field != "ctx" and (value not in (None, []) or isinstance(node, ast.Constant)):
                words.append(field)
                _spell(value, words)
    elif isinstance(node, list):
        words.append("[")
        for child in node:
            if not is_docstring(child):
                _spell(child, words)
        words.append("]")
    else:
        words.append(repr(node))


def is_docstring(node: object) -> bool:
    """Whether a statement is a bare string, which does nothing."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def travelling_code(model: Path) -> Path:
    """The `melanoma` package that travels with an MLflow model."""
    return model / CODE_FOLDER / Path(melanoma.__file__).parent.name


def digest_of_files(model: Path) -> str:
    """Hex digest over names and bytes of all files of an MLflow model.

    Excluded are `registered_model_meta`, which MLflow rewrites at each load, and Python's bytecode.
    """
    files = [
        path
        for path in model.rglob("*")
        if path.is_file() and BYTECODE not in path.parts and path != model / REGISTERED_META
    ]
    return _digest(files, model, sha256_of_file)


def _digest(files: list[Path], top: Path, digest_of: Callable[[Path], str]) -> str:
    lines = [f"{digest_of(path)} {path.relative_to(top).as_posix()}" for path in sorted(files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hex digest of the bytes of `path`."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
