"""What DVC records of the checked-out version: its outputs, their objects, the cache and the remote.

DVC names an object by its MD5. A folder's object is a list of its files, with `.dir` behind the name.
"""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from melanoma import storage
from melanoma.errors import DataError, StorageError, first_offenders
from melanoma.project import cache_of_main_worktree, how_to_share, working_tree

FOLDER_SUFFIX = ".dir"
OBJECTS = "files/md5/"  # below the URL of a remote


@dataclass(frozen=True)
class Version:
    """`outputs` and the result of `list_objects` go from a DVC hash to the path that has it.

    `url` is that of the default remote; None where there is none.
    """

    url: str | None
    endpoint_url: str | None
    cache: Path
    outputs: dict[str, str]
    num_unmade: int

    def cached(self, oid: str) -> Path:
        """Where DVC's cache keeps an object."""
        return self.cache / oid[:2] / oid[2:]

    def is_cached(self, oid: str) -> bool:
        """Whether the cache holds an object with the right bytes."""
        path = self.cached(oid)
        return path.is_file() and storage.md5_of_file(path) == md5_of(oid)


def read_version(*, needs_remote: bool = False) -> Version:
    """The version in the project's repository.

    Raises:
        DataError: This is no repository of DVC, it records no data, or there is no default remote and
            `needs_remote`.
    """
    try:
        with Repo(working_tree()) as repo:
            # Notes on folders may stem from a list that was damaged when DVC read it; it does not check.
            repo.drop_data_index()
            remote = repo.config["remote"].get(repo.config["core"].get("remote"), {})
            outs = [out for out in repo.index.outs if out.use_cache and out.can_push]
            version = Version(
                url=remote.get("url"),
                endpoint_url=remote.get("endpointurl"),
                cache=Path(repo.cache.local.path),
                outputs={out.hash_info.value: str(out) for out in outs if out.hash_info},
                num_unmade=sum(not out.hash_info for out in outs),
            )
    except DvcException as error:
        raise DataError(f"DVC cannot read this repository: {error}. {_cure(error)}") from error
    if needs_remote:
        _require_url(version)
    if not version.outputs:
        raise DataError(
            "This version records no data: there is neither dvc.lock nor a data/raw/<dataset>.dvc. Run `dvc "
            "repro`, or check out a version that was committed with them."
        )
    return version


def _cure(error: DvcException) -> str:
    if "not a git repository" in str(error):
        return "Without git, tell DVC so once: `dvc config --local core.no_scm true`."
    return "Run inside of the project."


def connect(version: Version) -> storage.Store:
    """The S3 store that is the default remote.

    Raises:
        DataError: There is no default remote.
        StorageError: It is no S3 store.
    """
    return storage.connect(_require_url(version), endpoint_url=version.endpoint_url)


def _require_url(version: Version) -> str:
    if version.url is None:
        raise DataError(
            "No default remote is set. Expected `remote = storage` under [core] in .dvc/config; "
            "`git checkout .dvc/config` brings it back."
        )
    return version.url


def list_objects(version: Version, store: storage.Store) -> dict[str, str]:
    """All objects that belong to the version, those in its folders too.

    Raises:
        StorageError: A folder's list is neither in the cache nor whole in the store. (DVC itself would take
            a damaged list for a folder with other files in it, or none.)
    """
    folders = {oid: path for oid, path in version.outputs.items() if oid.endswith(FOLDER_SUFFIX)}
    require_whole(store, {oid: path for oid, path in folders.items() if not version.is_cached(oid)})
    objects = dict(version.outputs)
    for oid, path in folders.items():
        objects |= {item["md5"]: f"{path}/{item['relpath']}" for item in read_folder(version, store, oid)}
    return objects


def read_folder(version: Version, store: storage.Store, oid: str) -> list[dict[str, str]]:
    """The list of a folder's files, each with `md5` and `relpath`, from the cache or else from the store."""
    with tempfile.TemporaryDirectory() as folder:
        if version.is_cached(oid):
            return read_cached_folder(version, oid)
        path = Path(folder) / "list.json"
        storage.download(store, object_name(oid), path, md5=md5_of(oid))
        return _read_list(path)


def read_cached_folder(version: Version, oid: str) -> list[dict[str, str]]:
    """The list of a folder's files from the cache, which holds it."""
    return _read_list(version.cached(oid))


def _read_list(path: Path) -> list[dict[str, str]]:
    items: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return items


def require_whole(store: storage.Store, objects: dict[str, str]) -> None:
    """Raise a `StorageError` that names the paths of those `objects` which the store does not hold whole."""
    faults = find_faults(store, objects)
    if faults:
        raise StorageError(
            f"What belongs to this version lies whole neither in {store} nor in DVC's cache here: "
            f"{describe(faults, objects)}. Run `make data-push` in a checkout that holds it. Or make it "
            "anew: data/raw/<dataset> with `python -m pipelines.fetch`, all else with `dvc repro`."
            f"{hint_at_cache()}"
        )


def hint_at_cache() -> str:
    """In a git worktree whose cache is empty: where the cache of the main checkout is; else nothing."""
    cache = cache_of_main_worktree(working_tree())
    return "" if cache is None else f" Note: {how_to_share(cache)}"


def describe(faults: dict[str, str], objects: dict[str, str]) -> str:
    """The first paths, each with what is wrong."""
    return first_offenders(sorted(f"{objects[oid]} ({fault})" for oid, fault in faults.items()))


def find_faults(store: storage.Store, objects: Iterable[str]) -> dict[str, str]:
    """Which objects are `missing` or `damaged` in the store."""
    oids = {object_name(oid): oid for oid in objects}
    md5s = {name: md5_of(oid) for name, oid in oids.items()}
    faults = storage.find_faults(store, md5s, folder=OBJECTS) if md5s else {}
    return {oids[name]: fault for name, fault in faults.items()}


def num_stored_bytes(store: storage.Store, objects: Iterable[str]) -> int:
    """What the objects take in the store."""
    stored = storage.list_objects(store, OBJECTS)
    return sum(stored[object_name(oid)].num_bytes for oid in objects)


def object_name(oid: str) -> str:
    """The name of an object in the remote, as DVC forms it."""
    return f"{OBJECTS}{oid[:2]}/{oid[2:]}"


def md5_of(oid: str) -> str:
    """The MD5 that the bytes of an object have."""
    return oid.removesuffix(FOLDER_SUFFIX)
