"""Zip files and folders that came from outside: judged before they are read, watched while they are.

Nothing of a zip is written before every member was judged by what it says of itself; a member that
turns out to hold more than it said is stopped there.
"""

import copy
import errno
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from melanoma.errors import DataError, first_offenders

MAX_TOTAL_BYTES = 20 * 2**30
MAX_MEMBERS = 500_000
MAX_RATIO = 200  # unpacked to packed
# Less may shrink by any factor: a flat BMP mask of PH2 (1.3 MB) shrinks more than 200 times.
MIN_BYTES_FOR_RATIO = 64 * 2**20
MAX_NAME_BYTES = 255  # of one part of a path: what file systems hold
MAX_PATH_BYTES = 1024
# What zipfile holds of the other methods at a time has no bound: 4 kB of bzip2 can be gigabytes.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Devices of Windows, with whatever suffix.
RESERVED_NAMES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{name}{n}" for name in ("COM", "LPT") for n in range(1, 10)),
}
CHUNK_BYTES = 2**20
# What zipfile and the decompressor under it raise for damaged archives and names no file can have.
FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError)


def unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack `archive` into the existing, empty `folder`; backslashes in names count as slashes.

    Raises:
        DataError: No zip or a broken one; a name that leads out of the folder, occurs twice or fits
            no file system; a link, a device or an encrypted member; too many members, too many bytes
            or a suspicious packing ratio; a member of another size than it says.
    """
    with _open(archive) as opened:
        for member in _judged_members(archive, opened, MAX_TOTAL_BYTES):
            target = folder / _path(member)
            if _is_folder(member):
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.writelines(_chunks(archive, opened, member))


def require_harmless_zip(archive: Path, *, max_total_bytes: int) -> None:
    """Refuse, as `unpack_zip` would, a zip that another library is about to read; nothing is written."""
    with _open(archive) as opened:
        for member in _judged_members(archive, opened, max_total_bytes):
            for _ in _chunks(archive, opened, member):
                pass


@contextmanager
def _open(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except FAULTS as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DataError(
                f"{archive}: no room to unpack it ({error}). Make room, or set TMPDIR."
            ) from error
        raise DataError(
            f"{archive} is no readable zip ({error}). Download it again, or unpack it first and give "
            "the folder."
        ) from error


def _judged_members(archive: Path, opened: zipfile.ZipFile, max_total_bytes: int) -> list[zipfile.ZipInfo]:
    """All members, when none is harmful by what the archive's directory says."""
    members = opened.infolist()
    total = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or total > max_total_bytes:
        raise DataError(
            f"{archive} would unpack to {len(members):,} files of {total:,} bytes; allowed are "
            f"{MAX_MEMBERS:,} files and {max_total_bytes:,} bytes."
        )
    bad = [*_faults_of_single(members), *_faults_of_paths(members)]
    if bad:
        raise DataError(
            f"{archive} holds {len(bad)} members that are not allowed: {first_offenders(bad)}. "
            "Nothing was unpacked."
        )
    # Of the whole too: members may be many and small, or share the same packed bytes.
    if _is_bomb(total, archive.stat().st_size):
        raise DataError(f"{archive} would unpack to {total:,} bytes, more than {MAX_RATIO} times its size.")
    return members


def _is_bomb(num_bytes: int, num_packed_bytes: int) -> bool:
    return num_bytes > MIN_BYTES_FOR_RATIO and num_bytes > MAX_RATIO * num_packed_bytes


def _faults_of_single(members: Iterable[zipfile.ZipInfo]) -> list[str]:
    faults = ((member, _fault_of_name(member) or _fault_of_content(member)) for member in members)
    return [f"{_shown(member)} ({fault})" for member, fault in faults if fault is not None]


def _faults_of_paths(members: list[zipfile.ZipInfo]) -> list[str]:
    """Files that would be written over each other, on disks that tell a from A and on those that do not."""
    files = {member: str(_path(member)).casefold() for member in members if not _is_folder(member)}
    times = Counter(files.values())
    twice = [
        f"{_shown(member)} (occurs twice; case does not count)"
        for member, path in files.items()
        if times[path] > 1
    ]
    folders = {str(parent).casefold() for member in members for parent in _path(member).parents}
    folders |= {str(_path(member)).casefold() for member in members if _is_folder(member)}
    both = [f"{_shown(member)} (is a folder too)" for member, path in files.items() if path in folders]
    return twice + both


def _path(member: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(member.filename.replace("\\", "/"))


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return member.filename.endswith(("/", "\\"))


def _shown(member: zipfile.ZipInfo) -> str:
    """The name without characters that would move the cursor of a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in member.orig_filename[:200])


def _fault_of_name(member: zipfile.ZipInfo) -> str | None:
    path = _path(member)
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        return "leads out of the folder"
    # zipfile cuts a name at its first NUL; the name as stored shows it.
    if any(ord(letter) < 32 for letter in member.orig_filename) or not (path.parts or _is_folder(member)):
        return "has no name that a file can have"
    lengths = [len(part.encode("utf-8", "surrogateescape")) for part in path.parts]
    if max(lengths, default=0) > MAX_NAME_BYTES or sum(lengths) > MAX_PATH_BYTES:
        return "has too long a name"
    if any(part.split(".")[0].rstrip(" ").upper() in RESERVED_NAMES for part in path.parts):
        return "has the name of a device"
    return None


def _fault_of_content(member: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the zip was not made on Unix
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is no plain file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in METHODS:
        return "is packed by a method other than deflate"
    if _is_bomb(member.file_size, member.compress_size):
        return f"unpacks to more than {MAX_RATIO} times its size"
    return None


def _chunks(archive: Path, opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of `member`, which must have exactly the size that the directory says."""
    generous = copy.copy(member)
    generous.file_size += 1  # zipfile stops at this size without a word: one byte more shows a lie
    num_bytes = 0
    with opened.open(generous) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            num_bytes += len(chunk)
            if num_bytes > member.file_size:
                break
            yield chunk
    if num_bytes != member.file_size:
        raise DataError(
            f"{archive}: {_shown(member)} does not unpack to the {member.file_size:,} bytes that it "
            "claims. Download it again."
        )


def require_plain_files(folder: Path) -> None:
    """Refuse a folder from outside that holds links out of it or what is neither file nor folder.

    Raises:
        DataError: A link that leads out of `folder` or nowhere, a pipe, a socket or a device.
    """
    top = folder.resolve()
    paths = [Path(at) / name for at, folders, files in os.walk(top) for name in folders + files]
    bad = [f"{path} ({fault})" for path in sorted(paths) if (fault := _fault_on_disk(path, top)) is not None]
    if bad:
        raise DataError(
            f"{folder} holds {len(bad)} entries that are not allowed: {first_offenders(bad)}. "
            "Put the files themselves there."
        )


def _fault_on_disk(path: Path, top: Path) -> str | None:
    if not path.exists():
        return "is a link that leads nowhere"
    if path.is_symlink() and not path.resolve().is_relative_to(top):
        return "is a link that leads out"
    return None if path.is_file() or path.is_dir() else "is no plain file"
