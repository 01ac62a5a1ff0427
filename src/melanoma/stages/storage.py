"""Command `storage`: push the data of this version to the S3 store, or pull them, and check every object."""

import subprocess
import sys

from tqdm import tqdm

from melanoma import storage
from melanoma.errors import StorageError
from melanoma.stages import data_versions
from melanoma.stages.data_versions import Remote, Version


def push() -> str:
    """Push all data, replace damaged objects and check the store; return a report.

    Raises:
        MelanomaError: The store cannot be used, or an object is whole neither there nor in the cache.
    """
    version, store = _open()
    storage.ensure_bucket(store)
    is_done = _dvc("push")
    remote = Remote(version)
    objects = remote.list_objects()
    faults = remote.find_faults(objects)
    repaired = {oid: fault for oid, fault in faults.items() if version.is_cached(oid)}
    for oid in tqdm(repaired, desc="Repairing", unit="object", disable=None):
        remote.put(oid)
    remote.require_whole({oid: objects[oid] for oid in faults})
    _require_done("push", is_done)
    report = f"{len(objects)} objects, {remote.num_bytes(objects):,} bytes are complete in {store}"
    if repaired:
        what = data_versions.describe(repaired, objects)
        report += f"; {len(repaired)} of them were repaired: {what}"
    return report + _unmade(version)


def pull() -> str:
    """Pull all data and check that none is missing; return a report.

    Raises:
        MelanomaError: The store cannot be used, or an object is whole neither there nor in the cache.
    """
    version, store = _open()
    remote = Remote(version)
    objects = remote.list_objects()
    # Named, because DVC fails on outputs that were never made, such as those of the study.
    is_done = _dvc("pull", "--allow-missing", *version.paths)
    # DVC compares checksums (`verify` in .dvc/config) and drops what arrives damaged, without naming it.
    remote.require_whole({oid: path for oid, path in objects.items() if not version.cached(oid).is_file()})
    _require_done("pull", is_done)
    num_bytes = sum(version.cached(oid).stat().st_size for oid in objects)
    return f"{len(objects)} objects, {num_bytes:,} bytes are here and in {store}" + _unmade(version)


def _open() -> tuple[Version, storage.Store]:
    version = data_versions.read_version()
    url = data_versions.require_url(version)
    return version, storage.connect(url, endpoint_url=version.endpoint_url)


def _unmade(version: Version) -> str:
    num = version.num_unmade
    return f"; not included: {num} outputs of stages that have not run" if num else ""


def _dvc(*arguments: str) -> bool:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False).returncode == 0


def _require_done(command: str, is_done: bool) -> None:
    if not is_done:
        raise StorageError(f"`dvc {command}` failed, see its output above. Fix that and run it again.")
