"""Many pictures at once into a staging folder: verified one by one, kept when the process is killed.

A file under its final name was verified whole before it got that name. `SHA256SUMS` (the format of the
program sha256sum) says what it was, so a later call can tell an intact file from a damaged one. The
archive's own client is content with an equal name and size.
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
    """A picture that is to be downloaded. `image_id` becomes part of a path: check it before."""

    image_id: str
    url: str
    num_bytes: int


@dataclass(frozen=True)
class StoredFile:
    """A picture on this machine, and the hex digest of what it was when it came."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Downloads:
    """What came of a list of pictures: each image_id is in exactly one of `files` and `failures`."""

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
    """Bring every picture of `wanted` here, unless it lies here intact already.

    Args:
        wanted: Unlike image ids.
        staging: Its `images/` receives the files; what it holds from an earlier call is used.
        connection: Says how many pictures are under way at once.
        known: Files that lie elsewhere, by image_id.
        renew: Gives a picture's address anew when its signed URL has expired; may raise `DownloadError`.

    Raises:
        DataError: `staging` cannot be written.
    """
    try:
        return _download_all(wanted, staging, connection=connection, known=known, renew=renew)
    except OSError as error:
        raise DataError(
            f"{staging} cannot be written ({error.strerror}). Make room, then run the same command again: "
            "what has come is kept."
        ) from error


def _download_all(
    wanted: Sequence[RemoteFile],
    staging: Path,
    *,
    connection: Connection,
    known: Mapping[str, StoredFile],
    renew: Renew,
) -> Downloads:
    (staging / "images").mkdir(parents=True, exist_ok=True)
    staged = read_manifest(staging)
    files = dict(_intact(wanted, {**known, **staged}))
    _write_manifest(staging, [file for image_id, file in files.items() if staged.get(image_id) == file])
    failures: dict[str, str] = {}
    missing = [remote for remote in wanted if remote.image_id not in files]
    fetch_one = partial(_fetch_one, folder=staging / "images", connection=connection, renew=renew)
    # Threads of this pool are daemons: an interrupted process ends without waiting for their transfers.
    with (
        ThreadPool(connection.settings.num_connections) as pool,
        (staging / MANIFEST_NAME).open("a", encoding="utf-8") as manifest,
    ):
        outcomes = pool.imap_unordered(fetch_one, missing)
        for image_id, file, reason in _with_progress(outcomes, wanted, missing):
            if file is None:
                failures[image_id] = reason
                continue
            files[image_id] = file
            manifest.write(_manifest_line(file))
            manifest.flush()
    return Downloads(files=files, failures=failures, num_new=len(missing) - len(failures))


def _with_progress(
    outcomes: Iterator[Outcome], wanted: Sequence[RemoteFile], missing: Sequence[RemoteFile]
) -> Iterator[Outcome]:
    num_here = len(wanted) - len(missing)
    yield from tqdm(
        outcomes, desc="download", unit="image", total=len(wanted), initial=num_here, disable=None
    )


def _fetch_one(remote: RemoteFile, *, folder: Path, connection: Connection, renew: Renew) -> Outcome:
    try:
        content = _read(remote, connection, renew)
        return remote.image_id, _store(content, remote.image_id, folder), ""
    except DownloadError as error:
        return remote.image_id, None, str(error)


def _read(remote: RemoteFile, connection: Connection, renew: Renew) -> bytes:
    """The verified bytes; an expired URL is renewed once."""
    try:
        return _read_verified(remote, connection)
    except DownloadError as error:
        if error.status not in EXPIRED_STATUSES:
            raise
    try:
        renewed = renew(remote.image_id)
    except DownloadError as error:
        raise DownloadError(f"{error}, when its expired URL was to be renewed") from error
    return _read_verified(renewed, connection)


def _read_verified(remote: RemoteFile, connection: Connection) -> bytes:
    return connection.get(
        remote.url,
        partial(_require_picture, num_bytes=remote.num_bytes),
        max_bytes=remote.num_bytes,
        follow_redirects=True,  # files lie on other hosts than the API
    )


def _require_picture(content: bytes, content_type: str, *, num_bytes: int) -> bytes:
    """`content`, if it has the announced size and decodes to its end.

    A JPEG is decoded at an eighth of its size: all its bytes are read, and it takes a fifth of the time
    and a sixtieth of the memory.
    """
    if len(content) != num_bytes:
        raise DownloadError(
            f"{len(content)} bytes of {content_type} came, {num_bytes} were announced", may_pass=True
        )
    with _telling_type(content_type, may_pass=False):  # the archive's file is so, however often it comes
        images.open_image(content)
    with _telling_type(content_type, may_pass=True):
        images.decode(content, min_side=1)
    return content


@contextmanager
def _telling_type(content_type: str, *, may_pass: bool) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise DownloadError(f"{error}; the server calls it {content_type}", may_pass=may_pass) from error


def _store(content: bytes, image_id: str, folder: Path) -> StoredFile:
    """Write under a name of our own: of what the server says only the bytes count."""
    suffix = SUFFIX_OF_FORMAT[str(images.open_image(content).format)]
    path = folder / f"{image_id}{suffix}"
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(content)
    return StoredFile(path, hashlib.sha256(content).hexdigest())


def _intact(
    wanted: Sequence[RemoteFile], known: Mapping[str, StoredFile]
) -> Iterator[tuple[str, StoredFile]]:
    """The files that lie here with the announced size and the bytes that they came with."""
    here = [(remote, known[remote.image_id]) for remote in wanted if remote.image_id in known]
    for remote, file in tqdm(here, desc="verify what is here", unit="image", disable=None):
        has_size = file.path.is_file() and file.path.stat().st_size == remote.num_bytes
        if has_size and sha256_of_file(file.path) == file.sha256:
            yield remote.image_id, file


def read_manifest(staging: Path) -> dict[str, StoredFile]:
    """The files that earlier calls left in `staging`, by image_id; a line that was cut short is ignored."""
    manifest = staging / MANIFEST_NAME
    text = manifest.read_text(encoding="utf-8", errors="replace") if manifest.is_file() else ""
    pairs = [line.split("  ", 1) for line in text.splitlines()]
    # The name alone counts, so a manifest that was tampered with cannot lead out of the folder.
    names = [(Path(pair[1]).name, pair[0]) for pair in pairs if len(pair) == 2]
    return {Path(name).stem: StoredFile(staging / "images" / name, sha256) for name, sha256 in names}


def _write_manifest(staging: Path, files: Sequence[StoredFile]) -> None:
    with atomic_file(staging / MANIFEST_NAME) as unfinished:
        unfinished.write_text("".join(map(_manifest_line, files)), encoding="utf-8")


def _manifest_line(file: StoredFile) -> str:
    return f"{file.sha256}  images/{file.path.name}\n"
