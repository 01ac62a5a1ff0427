"""Zip files and folders from outside: path traversal, links, zip bombs and false sizes are refused.

All members of a zip are checked by what its directory says before anything is written. A member that has
another size than it claims is stopped while it is unpacked.
"""

import copy
import errno
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from melanoma.errors import DataError, first_offenders

MAX_TOTAL_BYTES = 20 * 2**30
MAX_MEMBERS = 500_000
MAX_RATIO = 200  # unpacked to packed size
# Smaller archives may have any ratio: a flat BMP mask of PH2 (1.3 MB) has more than 200.
MIN_BYTES_FOR_RATIO = 64 * 2**20
# zipfile reads other methods without a bound on memory: 4 kB of bzip2 can be gigabytes.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
CHUNK_BYTES = 2**20
# What zipfile and zlib raise for damaged or encrypted archives, and the system for impossible names.
FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)


def unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack `archive` into an empty folder; backslashes in names count as slashes.

    Args:
        archive: The zip file.
        folder: An existing, empty folder.

    Raises:
        DataError: The file is no readable zip. A member leads out of the folder, is a link or a device, or
            has another size than it claims. There are too many members or bytes, or their ratio is too high.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _require_harmless(archive, opened.infolist())
            for member in opened.infolist():
                target = folder / _path(member)
                if member.filename.endswith(("/", "\\")):
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    file.writelines(_chunks(archive, opened, member))
    except FAULTS as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DataError(
                f"{archive}: not enough disk space to unpack it ({error}). Free some space, or set TMPDIR "
                "to another disk."
            ) from error
        raise DataError(
            f"{archive} is not a readable zip file ({error}). Download it again, or unpack it and give the "
            "folder."
        ) from error


def _require_harmless(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raise a `DataError` when the directory of the archive shows a harmful member."""
    total = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
        raise DataError(
            f"{archive} would unpack to {len(members):,} files of {total:,} bytes; the limits are "
            f"{MAX_MEMBERS:,} files and {MAX_TOTAL_BYTES:,} bytes."
        )
    # The ratio of the whole archive counts: members may be many and small, or share packed bytes.
    if total > max(MIN_BYTES_FOR_RATIO, MAX_RATIO * archive.stat().st_size):
        raise DataError(f"{archive} would unpack to {total:,} bytes, more than {MAX_RATIO} times its size.")
    faults = [f"{member.filename!a} ({fault})" for member in members if (fault := _fault(member))]
    if faults:
        raise DataError(
            f"{archive} has {len(faults)} members that are not allowed: {first_offenders(faults)}. Nothing "
            "was unpacked."
        )


def _path(member: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(member.filename.replace("\\", "/"))


def _fault(member: zipfile.ZipInfo) -> str | None:
    path = _path(member)
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        return "is outside the folder"
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 if the zip was not made on Unix
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link" if kind == stat.S_IFLNK else "is not a regular file"
    return "is compressed by a method other than deflate" if member.compress_type not in METHODS else None


def _chunks(archive: Path, opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the content of `member`, which must have exactly the size that the directory claims."""
    generous = copy.copy(member)
    generous.file_size += 1  # zipfile stops silently at this size: one more byte reveals a false one
    num_bytes = 0
    with opened.open(generous) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            num_bytes += len(chunk)
            if num_bytes > member.file_size:
                break
            yield chunk
    if num_bytes != member.file_size:
        raise DataError(
            f"{archive}: {member.filename!a} does not unpack to its stated size of {member.file_size:,} "
            "bytes. Download it again."
        )


def require_plain_files(folder: Path) -> None:
    """Refuse a folder with links out of it, or with anything that is neither file nor folder.

    Raises:
        DataError: The folder holds a link that leads out of it or nowhere, a pipe, a socket or a device.
    """
    top = folder.resolve()
    paths = sorted(Path(at) / name for at, folders, names in os.walk(top) for name in folders + names)
    faults = [f"{path} ({fault})" for path in paths if (fault := _fault_on_disk(path, top))]
    if faults:
        raise DataError(
            f"{folder} has {len(faults)} entries that are not allowed: {first_offenders(faults)}. Replace "
            "links by the files themselves."
        )


def _fault_on_disk(path: Path, top: Path) -> str | None:
    if not path.exists():
        return "is a broken link"
    if path.is_symlink() and not path.resolve().is_relative_to(top):
        return "is a link to a place outside the folder"
    return None if path.is_file() or path.is_dir() else "is not a regular file"
