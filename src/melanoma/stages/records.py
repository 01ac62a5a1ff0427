"""Body of the command `records`: compact, expire or erase records of answers, in a folder or in S3."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from melanoma import files, fingerprint, storage
from melanoma.monitoring import audit_draws, records
from melanoma.monitoring.audit_draws import DRAWS
from melanoma.monitoring.records import ANSWERS, ERASED, UNREADABLE, Compacted
from melanoma.monitoring.shadows import SHADOWS
from melanoma.registry.versions import Version
from melanoma.serving.records import IMAGES, S3, group_key, key_of_groups, spool_of

OUTBOX = "compacted"  # in the spool: compacted files on their way to S3


def compact(place: str) -> Compacted:
    """Compact the spool of this machine, and upload what was compacted if the records go to S3.

    Args:
        place: Folder or `s3://bucket/folder` of the records.

    Raises:
        DataError: Another process compacts the spool.
        StorageError: The store cannot be reached or refuses; nothing is lost, run the command again.
        TrackingError: The environment names no spool for records in S3.
    """
    spool = spool_of(place)
    spool.mkdir(parents=True, exist_ok=True)
    if not place.startswith(S3):
        return records.compact(spool, Path(place))
    outbox, store = spool / OUTBOX, storage.connect(place)
    storage.require_bucket(store)
    with files.exclusive_lock(spool / ".upload.lock", f"the records in {spool}"):
        for key in storage.keys(store):
            if key.startswith(f"{ERASED}/"):
                storage.download(store, key, outbox / key)
        records.apply_erasures(outbox)  # to what an earlier run could not upload
        compacted = records.compact(spool, outbox)
        for path in _files(outbox):
            if path.parent.name != ERASED:
                storage.upload(store, path, path.relative_to(outbox).as_posix())
            path.unlink()
    return compacted


def expire(place: str, *, keep_days: int) -> int:
    """Remove records and draws that are older than `keep_days` days; returns their number. See `compact`."""
    before = (datetime.now(UTC) - timedelta(days=keep_days)).date()
    with opened(place, changes=True) as folder:
        spool = local_spool(place)
        num_rows = records.expire(folder, before, spool=spool)
        audit_draws.expire(folder, before, records.read(folder, spool=spool).rows)
        return num_rows


def erase(place: str, group_id: str) -> int:
    """Remove records, images and draws of a patient or lesion; returns the number of records. See `compact`.

    Raises:
        TrackingError: The environment has no key, see `serving.records`.
    """
    key = group_key(group_id, key_of_groups().encode())
    with opened(place, changes=True) as folder:
        num_rows = records.erase(folder, group_key=key, now=datetime.now(UTC), spool=local_spool(place))
        audit_draws.erase(folder)
        return num_rows


@contextmanager
def opened(place: str, *, changes: bool = False) -> Iterator[Path]:
    """The records as a local folder: that folder itself, or a copy of the objects in S3.

    Args:
        place: Folder or `s3://bucket/folder` of the records.
        changes: Whether changed and removed files are written back to S3.
    """
    if not place.startswith(S3):
        records.require_folder(Path(place))
        yield Path(place)
        return
    store = storage.connect(place)
    storage.require_bucket(store)
    with tempfile.TemporaryDirectory(prefix="records-") as name:
        folder = Path(name)
        kinds = (ANSWERS, SHADOWS, ERASED, DRAWS, UNREADABLE, *((IMAGES,) if changes else ()))
        for key in storage.keys(store):
            if key.split("/")[0] in kinds:
                storage.download(store, key, folder / key)
        before = _digests(folder)
        yield folder
        after = _digests(folder)
        changed = [key for key in after if after[key] != before.get(key)] if changes else []
        for key in sorted(changed, key=lambda key: not key.startswith(f"{ERASED}/")):  # the marks first
            storage.upload(store, folder / key, key)
            storage.remove(store, key, keep_newest=True)  # older versions still hold what was erased
        for key in before.keys() - after.keys() if changes else ():
            storage.remove(store, key)


def local_spool(place: str) -> Path | None:
    """The spool beside the records; None for S3, where each server has its own."""
    return None if place.startswith(S3) else spool_of(place)


def of_version(rows: pd.DataFrame, version: Version) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of a version, and the number of other rows by their version."""
    is_mine = rows["model_name"].eq(version.name) & rows["model_version"].eq(str(version.version))
    is_mine = is_mine.fillna(False).astype(bool)
    names = rows[~is_mine]["model_name"].fillna("an unregistered model")
    of_others = (names + " version " + rows[~is_mine]["model_version"]).value_counts()
    counted = {f"rows of {name}": int(number) for name, number in of_others.items()}
    return rows[is_mine].reset_index(drop=True), counted


def add_file(place: str, folder: Path, path: Path) -> None:
    """Bring a new file of a folder that `opened` gave to S3; a local folder has it already."""
    if place.startswith(S3):
        storage.upload(storage.connect(place), path, path.relative_to(folder).as_posix())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("[!.]*") if path.is_file())


def _digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): fingerprint.sha256_of_file(path) for path in _files(folder)}
