"""Which objects the default remote holds whole: S3 through `melanoma.storage`, any other through DVC."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dvc.repo import Repo

from melanoma.errors import StorageError
from melanoma.project import working_tree
from melanoma.stages import data_versions


@dataclass(frozen=True)
class Remote:
    """A remote that can be asked.

    Attributes:
        find_faults: Which objects are `missing` or `damaged` there; a `StorageError` where it cannot tell.
        read_list: The files of a folder's object that is whole there.
    """

    find_faults: Callable[[Iterable[str]], dict[str, str]]
    read_list: Callable[[str], list[dict[str, str]]]


def connect(version: data_versions.Version) -> Remote:
    """The default remote of a version's repository.

    Raises:
        MelanomaError: There is none, or it cannot be asked.
    """
    if version.url is None or version.url.startswith("s3://"):
        store = data_versions.connect(version)
        return Remote(
            lambda oids: data_versions.find_faults(store, oids),
            lambda oid: data_versions.read_folder(version, store, oid),
        )
    return _through_dvc(version.url)


def _through_dvc(url: str) -> Remote:
    """A folder, an SSH server or another cloud: whatever DVC has a plugin for."""

    def read(oid: str) -> bytes | None:
        try:
            with Repo(working_tree()) as repo:
                objects: Any = repo.cloud.get_remote_odb()
                with objects.fs.open(objects.oid_to_path(oid), "rb") as stream:
                    return bytes(stream.read())
        except FileNotFoundError:
            return None
        except Exception as error:  # plugins have errors of their own, which have nothing in common
            raise StorageError(f"{url} cannot be asked: {type(error).__name__}: {error}") from error

    def fault(oid: str) -> str | None:
        content = read(oid)
        if content is None:
            return "missing"
        is_whole = hashlib.md5(content, usedforsecurity=False).hexdigest() == data_versions.md5_of(oid)
        return None if is_whole else "damaged"

    return Remote(
        lambda oids: {oid: found for oid in oids if (found := fault(oid)) is not None},
        lambda oid: list(json.loads(read(oid) or b"[]")),
    )
