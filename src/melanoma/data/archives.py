"""Unpacking zip files that came from outside: nothing is written before every member was judged."""

import lzma
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from melanoma.errors import DataError, first_offenders

MAX_TOTAL_BYTES = 20 * 2**30
MAX_MEMBERS = 500_000
MAX_RATIO = 200  # unpacked to packed
# Smaller members may shrink by any factor: a flat BMP mask of PH2 (1.3 MB) shrinks more than 200 times.
MIN_BYTES_FOR_RATIO = 64 * 2**20
# What zipfile and the decompressors under it raise for damaged archives and names no file can have.
FAULTS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, ValueError)


def unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack `archive` into the existing, empty `folder`.

    Raises:
        DataError: No zip or a broken one; a member with an absolute path or `..`, a link, an
            encrypted member, too many members or too many bytes, or a suspicious packing ratio.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _require_harmless(archive, members)
            opened.extractall(folder)
    except FAULTS as error:
        raise DataError(
            f"{archive} is no readable zip ({error}). Download it again, or unpack it first and give "
            "the folder."
        ) from error


def _require_harmless(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    total = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
        raise DataError(
            f"{archive} would unpack to {len(members):,} files of {total:,} bytes; allowed are "
            f"{MAX_MEMBERS:,} files and {MAX_TOTAL_BYTES:,} bytes."
        )
    bad = [f"{member.filename} ({fault})" for member in members if (fault := _fault(member)) is not None]
    if bad:
        raise DataError(
            f"{archive} holds {len(bad)} members that are not allowed: {first_offenders(bad)}. "
            "Nothing was unpacked."
        )


def _fault(member: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        return "leads out of the folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.file_size > MIN_BYTES_FOR_RATIO and member.file_size > MAX_RATIO * member.compress_size:
        return f"unpacks to more than {MAX_RATIO} times its size"
    return None
