"""Downloads of many pictures into a staging folder: each is verified, and kept if the process is killed.

A file gets its final name after it was verified. `SHA256SUMS` (in the format of the program sha256sum) holds
its digest, so that a later call tells an intact file from a damaged one.

isic-cli 12.4, the official client, was tried against `tests/data/archive_server.py` and cannot replace this.
It accepts web pages, truncated pictures and damaged files of the right size, reports success when downloads
fail or URLs have expired, writes outside of its folder for a hostile id, and cannot be interrupted.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

from tqdm import tqdm

from melanoma.data import images
from melanoma.data.sources.connection import Connection, DownloadError
from melanoma.errors import DataError, ImageError
from melanoma.files import atomic_file
from melanoma.fingerprint import sha256_of_file

MANIFEST_NAME = "SHA256SUMS"
# What object stores answer when a signed URL has expired.
EXPIRED_STATUSES = (400, 403)
SUFFIX_OF_FORMAT = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp"}


@dataclass(frozen=True)
class RemoteFile:
    """A picture to download. `image_id` becomes part of a path: check it before."""

    image_id: str
    url: str
    num_bytes: int


@dataclass(frozen=True)
class StoredFile:
    """A downloaded picture, and the hex digest of the bytes that came."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Downloads:
    """Result of `download_all`: each image_id is in exactly one of `files` and `failures`."""

    files: dict[str, StoredFile]
    failures: dict[str, str]  # reason by image_id
    num_new: int


Renew = Callable[[str], RemoteFile]
Outcome = tuple[str, StoredFile | None, str]


def download_all(
    wanted: Sequence[RemoteFile],
    staging: Path,
    *,
    connection: Connection,
    known: Mapping[str, StoredFile],
    renew: Renew,
) -> Downloads:
    """Download every picture of `wanted` that is not here intact already.

    Args:
        wanted: Pictures with distinct image ids.
        staging: Folder whose `images/` receives the files. Files of an earlier call are used.
        connection: Its settings hold the number of parallel downloads.
        known: Files elsewhere by image_id, used where intact.
        renew: Returns a picture with a fresh signed URL; may raise `DownloadError`.

    Raises:
        DataError: `staging` cannot be written.
    """
    fetch_one = partial(_fetch_one, folder=staging / "images", connection=connection, renew=renew)
    failures: dict[str, str] = {}
    try:
        (staging / "images").mkdir(parents=True, exist_ok=True)
        staged = read_manifest(staging)
        files = dict(_intact(wanted, {**known, **staged}))
        _write_manifest(staging, [file for image_id, file in files.items() if staged.get(image_id) == file])
        missing = [remote for remote in wanted if remote.image_id not in files]
        progress = tqdm(desc="download", unit="image", total=len(wanted), initial=len(files), disable=None)
        # Threads of this pool are daemons: an interrupted process ends without waiting for their transfers.
        with (
            progress,
            ThreadPool(connection.settings.num_connections) as pool,
            (staging / MANIFEST_NAME).open("a", encoding="utf-8") as manifest,
        ):
            for image_id, file, reason in pool.imap_unordered(fetch_one, missing):
                progress.update()
                if file is None:
                    failures[image_id] = reason
                    continue
                files[image_id] = file
                manifest.write(_manifest_line(file))
                manifest.flush()
    except OSError as error:
        raise DataError(
            f"{staging} cannot be written ({error.strerror}). Free some disk space, then run the same "
            "command again: finished downloads are kept."
        ) from error
    return Downloads(files=files, failures=failures, num_new=len(missing) - len(failures))


def _fetch_one(remote: RemoteFile, *, folder: Path, connection: Connection, renew: Renew) -> Outcome:
    try:
        content = _read(remote, connection, renew)
        return remote.image_id, _store(content, remote.image_id, folder), ""
    except DownloadError as error:
        return remote.image_id, None, str(error)


def _read(remote: RemoteFile, connection: Connection, renew: Renew) -> bytes:
    """The verified bytes. An expired URL is renewed once."""
    try:
        return _read_verified(remote, connection)
    except DownloadError as error:
        if error.status not in EXPIRED_STATUSES:
            raise
    try:
        renewed = renew(remote.image_id)
    except DownloadError as error:
        raise DownloadError(f"{error}, while its expired URL was renewed") from error
    return _read_verified(renewed, connection)


def _read_verified(remote: RemoteFile, connection: Connection) -> bytes:
    return connection.get(
        remote.url,
        partial(_require_picture, num_bytes=remote.num_bytes),
        max_bytes=remote.num_bytes,
        follow_redirects=True,  # files are on other hosts than the API
    )


def _require_picture(content: bytes, content_type: str, *, num_bytes: int) -> bytes:
    """Return `content` if it has the announced size and decodes completely.

    A JPEG is decoded at an eighth of its size, which still reads all its bytes but takes a fifth of the time
    and a sixtieth of the memory.
    """
    if len(content) != num_bytes:
        raise DownloadError(
            f"{len(content)} bytes of {content_type} were received, expected {num_bytes}", is_transient=True
        )
    with _naming_type(content_type, is_transient=False):  # a retry cannot help
        images.open_image(content)
    with _naming_type(content_type, is_transient=True):
        images.decode(content, min_side=1)
    return content


@contextmanager
def _naming_type(content_type: str, *, is_transient: bool) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise DownloadError(
            f"{error}; its content type is {content_type}", is_transient=is_transient
        ) from error


def _store(content: bytes, image_id: str, folder: Path) -> StoredFile:
    """Write `content`; the suffix follows its format, whatever the server says."""
    suffix = SUFFIX_OF_FORMAT[str(images.open_image(content).format)]
    path = folder / f"{image_id}{suffix}"
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(content)
    return StoredFile(path, hashlib.sha256(content).hexdigest())


def _intact(
    wanted: Sequence[RemoteFile], known: Mapping[str, StoredFile]
) -> Iterator[tuple[str, StoredFile]]:
    """Yield the files that still have the announced size and the digest that they came with."""
    here = [(remote, known[remote.image_id]) for remote in wanted if remote.image_id in known]
    for remote, file in tqdm(here, desc="verify files", unit="image", disable=None):
        has_size = file.path.is_file() and file.path.stat().st_size == remote.num_bytes
        if has_size and sha256_of_file(file.path) == file.sha256:
            yield remote.image_id, file


def read_manifest(staging: Path) -> dict[str, StoredFile]:
    """Files of earlier calls in `staging`, by image_id; a line that was cut short is ignored."""
    manifest = staging / MANIFEST_NAME
    text = manifest.read_text(encoding="utf-8", errors="replace") if manifest.is_file() else ""
    pairs = [line.split("  ", 1) for line in text.splitlines()]
    # Only the name counts, so a manifest that was tampered with cannot lead out of the folder.
    names = [(Path(pair[1]).name, pair[0]) for pair in pairs if len(pair) == 2]
    return {Path(name).stem: StoredFile(staging / "images" / name, sha256) for name, sha256 in names}


def _write_manifest(staging: Path, files: Sequence[StoredFile]) -> None:
    with atomic_file(staging / MANIFEST_NAME) as unfinished:
        unfinished.write_text("".join(map(_manifest_line, files)), encoding="utf-8")


def _manifest_line(file: StoredFile) -> str:
    return f"{file.sha256}  images/{file.path.name}\n"
