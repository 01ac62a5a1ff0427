"""Digests of what makes a served model: the code that decides, and all of its files.

Travels with the model. The model's own folder cannot vouch for itself, so the registry keeps both digests as
tags of the version.
"""

import hashlib
from pathlib import Path

import melanoma

FILES_TAG, CODE_TAG = "files_sha256", "code_sha256"  # of a registered version
CODE_FOLDER = "code"  # of an MLflow model: what `code_paths` copied
BYTECODE = "__pycache__"  # written by Python next to the code when it is imported
# MLflow writes this file anew whenever it loads a registered version.
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
        package: Folder of a `melanoma` package, for instance the one that travels with a model. By default
            the package that this process has imported.
    """
    package = package or Path(melanoma.__file__).parent
    modules = [path for folder in DECIDING_FOLDERS for path in package.joinpath(folder).glob("*.py")]
    modules += [path for name in DECIDING_MODULES if (path := package / name).is_file()]
    return _digest(modules, package)


def travelling_code(model: Path) -> Path:
    """The `melanoma` package that travels with an MLflow model."""
    return model / CODE_FOLDER / Path(melanoma.__file__).parent.name


def digest_of_files(model: Path) -> str:
    """Hex digest over names and bytes of all files of an MLflow model.

    Left out are `registered_model_meta`, which MLflow rewrites at each load, and the bytecode that Python
    writes beside the code.
    """
    files = [
        path
        for path in model.rglob("*")
        if path.is_file() and BYTECODE not in path.parts and path != model / REGISTERED_META
    ]
    return _digest(files, model)


def _digest(files: list[Path], top: Path) -> str:
    lines = [f"{sha256_of_file(path)} {path.relative_to(top).as_posix()}" for path in sorted(files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hex digest of the bytes of `path`."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
