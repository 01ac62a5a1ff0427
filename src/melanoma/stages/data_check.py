"""Manifests of raw data: path, size and SHA-256 of each file, so that anybody can check their copy."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from melanoma import files
from melanoma.errors import first_offenders
from melanoma.fingerprint import sha256_of_file

COLUMNS = ("path", "bytes", "sha256")


@dataclass(frozen=True)
class Difference:
    """How a folder differs from its manifest; paths are relative to the folder.

    Attributes:
        num_files: Number of files in the manifest.
        changed: Files with other bytes.
        missing: Files that only the manifest names.
        extra: Files that only the folder holds.
    """

    num_files: int
    changed: list[str]
    missing: list[str]
    extra: list[str]

    @property
    def is_equal(self) -> bool:
        """Whether folder and manifest agree."""
        return not (self.changed or self.missing or self.extra)

    def __str__(self) -> str:
        """Counts, and the first five files of each kind."""
        if self.is_equal:
            return f"identical, {self.num_files} files"
        kinds = {"changed": self.changed, "missing": self.missing, "extra": self.extra}
        return "; ".join(
            f"{len(paths)} {kind} ({first_offenders(paths)})" for kind, paths in kinds.items() if paths
        )


def manifest(folder: Path) -> pd.DataFrame:
    """The files below `folder` by path: columns `path`, `bytes` and `sha256`."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = [
        (path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of_file(path)) for path in found
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def compare(folder: Path, published: Path) -> Difference:
    """Compare the files below `folder` with the manifest at `published`."""
    expected = files.read_csv(published, dtype=str).set_index("path")["sha256"]
    found = manifest(folder).set_index("path")["sha256"]
    both = expected.index.intersection(found.index)
    return Difference(
        num_files=len(expected),
        changed=list(both[expected[both] != found[both]]),
        missing=list(expected.index.difference(found.index)),
        extra=list(found.index.difference(expected.index)),
    )
