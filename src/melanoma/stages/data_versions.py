"""What DVC records for the checked-out version: its outputs, their objects, the cache and the remote.

DVC names an object by its MD5. The object of a folder is a list of its files, named with the suffix `.dir`.
DVC trusts a remote: it takes a folder whose list exists for complete and never compares bytes there, hence
`Remote.find_faults`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from tqdm import tqdm

from melanoma import storage
from melanoma.errors import DataError, MelanomaError, StorageError, first_offenders
from melanoma.project import cache_of_main_worktree, how_to_share, working_tree

FOLDER_SUFFIX = ".dir"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Version:
    """The data of a version.

    Attributes:
        url: URL of the default remote; None if there is none.
        endpoint_url: Endpoint of an S3 remote, if DVC's configuration names one.
        cache: Folder of DVC's cache.
        outputs: Path of each output by its DVC hash.
        paths: Paths of all outputs that were made; two with equal content have one hash.
        num_unmade: Number of outputs of stages that have not run.
    """

    url: str | None
    endpoint_url: str | None
    cache: Path
    outputs: dict[str, str]
    paths: list[str]
    num_unmade: int

    def cached(self, oid: str) -> Path:
        """Path of an object in DVC's cache."""
        return self.cache / oid[:2] / oid[2:]

    def is_cached(self, oid: str) -> bool:
        """Whether the cache holds an object with the right bytes."""
        path = self.cached(oid)
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return md5_of_stream(stream) == md5_of(oid)


def read_version() -> Version:
    """Read the version from the project's repository.

    Raises:
        DataError: This is no DVC repository, or it records no data.
    """
    try:
        with Repo(working_tree()) as repo:
            # DVC's index may hold a folder's list that was damaged when DVC read it; DVC does not check.
            repo.drop_data_index()
            remote = repo.config["remote"].get(repo.config["core"].get("remote"), {})
            outs = [out for out in repo.index.outs if out.use_cache and out.can_push]
            version = Version(
                url=remote.get("url"),
                endpoint_url=remote.get("endpointurl"),
                cache=Path(repo.cache.local.path),
                outputs={out.hash_info.value: str(out) for out in outs if out.hash_info},
                paths=[str(out) for out in outs if out.hash_info],
                num_unmade=sum(not out.hash_info for out in outs),
            )
    except DvcException as error:
        raise DataError(f"DVC cannot read this repository: {error}. {_cure(error)}") from error
    if not version.outputs:
        raise DataError(
            "This version has no recorded data: dvc.lock and data/raw/<dataset>.dvc are missing. Run `dvc "
            "repro`, or check out a version that has them."
        )
    return version


def _cure(error: DvcException) -> str:
    if "not a git repository" in str(error):
        return "Without git, run `dvc config --local core.no_scm true` once."
    return "Run inside the project."


def require_url(version: Version) -> str:
    """URL of the default remote.

    Raises:
        DataError: There is none.
    """
    if version.url is None:
        raise DataError(
            "No default remote is set. Expected `remote = storage` under [core] in .dvc/config; `git "
            "checkout .dvc/config` restores it."
        )
    return version.url


class Remote:
    """The default remote of any kind, asked through DVC."""

    def __init__(self, version: Version) -> None:
        """Connect to the remote.

        Raises:
            DataError: There is no default remote.
            StorageError: It cannot be asked.
        """
        self._version, self._url = version, require_url(version)
        if self._url.startswith("s3://"):  # errors of storage are clearer than those of DVC
            storage.require_bucket(storage.connect(self._url, endpoint_url=version.endpoint_url))
        with self._explained(), Repo(working_tree()) as repo:
            self._objects: Any = repo.cloud.get_remote_odb()

    def find_faults(self, oids: Iterable[str]) -> dict[str, str]:
        """Find the objects that are `missing` or `damaged` in the remote.

        An S3 ETag that equals the MD5 proves that an object is whole. Another one proves nothing (objects
        that were sent in parts or are encrypted have other ETags), so those objects are read.
        """
        infos = self._infos(list(oids))
        faults = {oid: "missing" for oid, info in infos.items() if isinstance(info, FileNotFoundError)}
        unproven = [
            oid
            for oid, info in infos.items()
            if oid not in faults and str(info.get("ETag")).strip('"') != md5_of(oid)
        ]
        for oid in tqdm(unproven, desc="Reading back", unit="object", disable=None):
            with self._explained(), self._objects.fs.open(self._objects.oid_to_path(oid), "rb") as stream:
                if md5_of_stream(stream) != md5_of(oid):
                    faults[oid] = "damaged"
        return faults

    def _infos(self, oids: list[str]) -> dict[str, Any]:
        """Size and, in S3, ETag of each object; a `FileNotFoundError` for one that is missing."""
        paths = [self._objects.oid_to_path(oid) for oid in oids]
        self._objects.fs.fs.invalidate_cache()
        with self._explained():
            infos = self._objects.fs.info(paths, return_exceptions=True) if paths else []
            for info in infos:
                if isinstance(info, Exception) and not isinstance(info, FileNotFoundError):
                    raise info
        return dict(zip(oids, infos, strict=True))

    def num_bytes(self, oids: Iterable[str]) -> int:
        """Total size of objects that exist in the remote."""
        return sum(int(info["size"]) for info in self._infos(list(oids)).values())

    def put(self, oid: str) -> None:
        """Write an object of the cache to the remote, where one may lie already."""
        with self._explained():
            self._objects.fs.put_file(str(self._version.cached(oid)), self._objects.oid_to_path(oid))

    def require_whole(self, objects: dict[str, str]) -> None:
        """Refuse objects that the remote does not hold whole.

        Args:
            objects: Paths by DVC hash.

        Raises:
            StorageError: Names the paths.
        """
        faults = self.find_faults(objects)
        if faults:
            raise StorageError(
                f"Files of this version are missing or damaged both in {self._url} and in the local DVC "
                f"cache: {describe(faults, objects)}. Run `make data-push` in a checkout that has them, or "
                "create them again: data/raw/<dataset> with `python -m pipelines.fetch`, the others with "
                f"`dvc repro`.{hint_at_cache()}"
            )

    def list_objects(self) -> dict[str, str]:
        """All objects of the version, files of folders included: paths by DVC hash.

        Raises:
            StorageError: A folder's list is neither in the cache nor whole in the remote. (DVC itself would
                take a damaged list for a folder with other files or none.)
        """
        version = self._version
        folders = {oid: path for oid, path in version.outputs.items() if oid.endswith(FOLDER_SUFFIX)}
        self.require_whole({oid: path for oid, path in folders.items() if not version.is_cached(oid)})
        objects = dict(version.outputs)
        for oid, path in folders.items():
            objects |= {item["md5"]: f"{path}/{item['relpath']}" for item in self.read_folder(oid)}
        return objects

    def read_folder(self, oid: str) -> list[dict[str, str]]:
        """The list of a folder's files, each with `md5` and `relpath`, from the cache or else the remote."""
        if self._version.is_cached(oid):
            return read_cached_folder(self._version, oid)
        with self._explained(), self._objects.fs.open(self._objects.oid_to_path(oid), "rb") as stream:
            return list(json.load(stream))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of DVC and its plugins, which have no common type, into a `StorageError`."""
        try:
            yield
        except MelanomaError:
            raise
        except Exception as error:
            raise StorageError(f"{self._url} cannot be read ({type(error).__name__}: {error})") from error


def read_cached_folder(version: Version, oid: str) -> list[dict[str, str]]:
    """The list of a folder's files from the cache, which holds it."""
    return list(json.loads(version.cached(oid).read_text(encoding="utf-8")))


def hint_at_cache() -> str:
    """Where the main checkout's cache is, in a git worktree with an empty cache; else an empty text."""
    cache = cache_of_main_worktree(working_tree())
    return "" if cache is None else f" Note: {how_to_share(cache)}"


def describe(faults: dict[str, str], objects: dict[str, str]) -> str:
    """The first faulty paths, each with its fault."""
    return first_offenders(sorted(f"{objects[oid]} ({fault})" for oid, fault in faults.items()))


def md5_of(oid: str) -> str:
    """The MD5 that the bytes of an object must have."""
    return oid.removesuffix(FOLDER_SUFFIX)


def md5_of_stream(stream: IO[bytes]) -> str:
    """Hex digest that DVC uses as the name of an object."""
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
