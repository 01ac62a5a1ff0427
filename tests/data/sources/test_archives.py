import contextlib
import errno
import os
import stat
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from melanoma.data.sources import archives
from melanoma.errors import DataError

MEBIBYTE = 2**20


@pytest.fixture
def folder(tmp_path):
    """The empty folder to unpack into, with a neighbour that nothing may touch."""
    inside = tmp_path / "outside" / "inside"
    inside.mkdir(parents=True)
    return inside


def zip_of(path: Path, members: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return path


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def assert_refused(archive: Path, folder: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        archives.unpack_zip(archive, folder)
    assert files_below(folder.parent) == {}


def test_a_harmless_zip_is_unpacked_with_its_folders(tmp_path, folder):
    members = {"a.txt": b"a", "deep/er/b.txt": b"b", "with space.bmp": bytes(1000), "dots..in.name": b"c"}
    archives.unpack_zip(zip_of(tmp_path / "good.zip", members), folder)
    assert files_below(folder) == members


def test_members_for_the_folder_itself_are_harmless(tmp_path, folder):
    archives.unpack_zip(zip_of(tmp_path / "good.zip", {"./": b"", "./a.txt": b"a"}), folder)
    assert files_below(folder) == {"a.txt": b"a"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "deep/../../evil.txt",
        "/evil.txt",
        "..\\evil.txt",
        "deep\\..\\..\\evil.txt",
        "C:/evil.txt",
        "C:\\evil.txt",
        "\\\\server\\evil.txt",
    ],
)
def test_a_member_that_leads_out_of_the_folder_is_refused(tmp_path, folder, name):
    archive = zip_of(tmp_path / "bad.zip", {"good.txt": b"good", name: b"evil"})
    assert_refused(archive, folder, r"has 1 members that are not allowed: .*evil\.txt' \(is outside")


def test_a_link_is_refused(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("good.txt", b"good")
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert_refused(tmp_path / "bad.zip", folder, r"'link' \(is a link\)\. Nothing was unpacked")


def test_an_encrypted_member_is_refused(tmp_path, folder):
    path = zip_of(tmp_path / "bad.zip", {"good.txt": b"good"})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # flags in the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is not a readable zip file .*encrypted, password required"):
        archives.unpack_zip(path, folder)


def test_a_large_member_that_shrinks_more_than_200_times_is_refused(tmp_path, folder):
    path = zip_of(tmp_path / "bomb.zip", {"zeros.bmp": bytes(65 * MEBIBYTE)})
    assert path.stat().st_size < MEBIBYTE
    assert_refused(path, folder, "would unpack to 68,157,440 bytes, more than 200 times its size")


def test_a_small_member_may_shrink_by_any_factor(tmp_path, folder):
    archives.unpack_zip(zip_of(tmp_path / "flat.zip", {"mask.bmp": bytes(2 * MEBIBYTE)}), folder)
    assert (folder / "mask.bmp").stat().st_size == 2 * MEBIBYTE


def test_more_bytes_in_all_than_allowed_are_refused(tmp_path, folder, monkeypatch):
    archive = zip_of(tmp_path / "large.zip", {"a": bytes(60), "b": bytes(40)})
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 99)
    assert_refused(
        archive, folder, "would unpack to 2 files of 100 bytes; the limits are 500,000 files and 99 bytes"
    )
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 100)
    archives.unpack_zip(archive, folder)
    assert set(files_below(folder)) == {"a", "b"}


def test_more_members_than_allowed_are_refused(tmp_path, folder, monkeypatch):
    archive = zip_of(tmp_path / "many.zip", {"a": b"", "b": b"", "c": b""})
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    assert_refused(archive, folder, "would unpack to 3 files of 0 bytes; the limits are 2 files")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    archives.unpack_zip(archive, folder)
    assert set(files_below(folder)) == {"a", "b", "c"}


def test_the_first_five_bad_members_are_named(tmp_path, folder):
    archive = zip_of(tmp_path / "bad.zip", {f"../{number}": b"" for number in range(7)})
    assert_refused(archive, folder, r"7 members .*\.\./4' \(is outside the folder\) and 2 more\. Nothing")


@pytest.mark.parametrize("content", [b"", b"404 Not Found", bytes(1000), b"PK\x03\x04"])
def test_what_is_no_zip_is_refused(tmp_path, folder, content):
    (tmp_path / "bad.zip").write_bytes(content)
    assert_refused(tmp_path / "bad.zip", folder, r"bad\.zip is not a readable zip file .* Download it again")


@pytest.mark.parametrize("num_tenths", range(1, 10))
def test_a_truncated_zip_is_refused(tmp_path, folder, num_tenths):
    path = zip_of(tmp_path / "bad.zip", {f"{number}": bytes(range(256)) for number in range(10)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * num_tenths // 10])
    assert_refused(path, folder, "is not a readable zip file")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_content_is_refused_however_it_is_packed(tmp_path, folder, compression):
    noise = np.random.default_rng(0).integers(0, 4, 50_000, dtype=np.uint8).tobytes()
    path = zip_of(tmp_path / "zip.zip", {"noise": noise}, compression=compression)
    archives.unpack_zip(path, folder)
    assert files_below(folder) == {"noise": noise}

    content = bytearray(path.read_bytes())
    for place in range(200, len(content) - 300, 7):
        content[place] ^= 0x5A
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a readable zip file"):
        archives.unpack_zip(path, folder)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_memory_has_no_bound_are_refused(tmp_path, folder, compression):
    archive = zip_of(tmp_path / "bad.zip", {"a": b"a"}, compression=compression)
    assert_refused(archive, folder, r"'a' \(is compressed by a method other than deflate\)")


def test_a_name_that_occurs_twice_is_refused(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("a", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", b"second")
    with pytest.raises(DataError, match=r"is not a readable zip file .*File exists"):
        archives.unpack_zip(tmp_path / "bad.zip", folder)


def test_backslashes_of_old_windows_programs_part_folders(tmp_path, folder):
    archives.unpack_zip(zip_of(tmp_path / "good.zip", {"deep\\er\\b.txt": b"b", "empty\\": b""}), folder)
    assert files_below(folder) == {"deep/er/b.txt": b"b"}
    assert (folder / "empty").is_dir()


@pytest.mark.parametrize("members", [{"a" * 256: b""}, {"a": b"", "a/b": b""}, {"a/b": b"1", "a\\b": b"2"}])
def test_names_that_the_file_system_cannot_hold_are_refused(tmp_path, folder, members):
    with pytest.raises(DataError, match="is not a readable zip file"):
        archives.unpack_zip(zip_of(tmp_path / "bad.zip", members), folder)


def test_a_name_in_broken_utf8_is_refused(tmp_path, folder):
    path = zip_of(tmp_path / "bad.zip", {"é": b""})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xfe"))
    assert_refused(path, folder, "is not a readable zip file")


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_member_that_is_no_plain_file_is_refused(tmp_path, folder, kind):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        odd = zipfile.ZipInfo("odd")
        odd.external_attr = (kind | 0o644) << 16
        archive.writestr(odd, b"")
    assert_refused(tmp_path / "bad.zip", folder, r"'odd' \(is not a regular file\)")


# ---- bombs and lies --------------------------------------------------------------------------


def with_claimed_size(path: Path, num_bytes: int, *, crc: int | None = None) -> Path:
    """The zip of one member, whose headers now claim `num_bytes` (and `crc`) of what it unpacks to."""
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    for place, value in ((14, crc), (22, num_bytes)):
        if value is not None:
            content[place : place + 4] = value.to_bytes(4, "little")
            content[directory + place + 2 : directory + place + 6] = value.to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("claimed", [0, 10, 999, 1001])
def test_a_member_of_another_size_than_it_claims_is_refused(tmp_path, folder, compression, claimed):
    path = zip_of(tmp_path / "bad.zip", {"a": b"a" * 1000}, compression=compression)
    with_claimed_size(path, claimed, crc=zlib.crc32(b"a" * min(claimed, 1000)))
    with pytest.raises(DataError, match=r"does not unpack to its stated size of|not a readable zip"):
        archives.unpack_zip(path, folder)


def test_a_member_that_claims_too_little_is_stopped_while_it_is_unpacked(tmp_path, folder):
    path = zip_of(tmp_path / "bad.zip", {"a": bytes(50 * MEBIBYTE)})
    with_claimed_size(path, 10)
    with pytest.raises(DataError, match=r"the 10 stated size of|Bad CRC-32"):
        archives.unpack_zip(path, folder)
    assert (folder / "a").stat().st_size <= 10


def test_many_small_members_that_shrink_more_than_200_times_together_are_refused(tmp_path, folder):
    members = {str(number): bytes(8 * MEBIBYTE) for number in range(9)}
    assert_refused(zip_of(tmp_path / "bomb.zip", members), folder, "more than 200 times its size")
    del members["8"]  # 64 MiB is not yet suspicious
    archives.unpack_zip(zip_of(tmp_path / "flat.zip", members), folder)
    assert len(files_below(folder)) == 8


def test_a_full_disk_is_not_blamed_on_the_zip(tmp_path, folder, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = zip_of(tmp_path / "good.zip", {"a": b"a"})
    monkeypatch.setattr(archives, "_chunks", full)
    with pytest.raises(DataError, match=r"not enough disk space to unpack it .*Free some space"):
        archives.unpack_zip(archive, folder)


def test_whatever_byte_is_wrong_the_zip_is_unpacked_or_refused(tmp_path):
    path = zip_of(tmp_path / "zip.zip", {"a/b": b"abc" * 20, "c": b"", "d/": b""})
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(300):
        broken = bytearray(content)
        for place in rng.integers(0, len(content), 2):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(broken)
        inside = tmp_path / str(number) / "inside"
        inside.mkdir(parents=True)
        with contextlib.suppress(DataError):
            archives.unpack_zip(path, inside)
        assert [found.name for found in inside.parent.iterdir()] == ["inside"]


# ---- folders ---------------------------------------------------------------------------------


def test_links_that_stay_in_the_folder_are_harmless(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_bytes(b"a")
    (tmp_path / "to_file").symlink_to(tmp_path / "deep" / "a.txt")
    (tmp_path / "to_folder").symlink_to("deep")
    archives.require_plain_files(tmp_path)


def test_a_folder_that_is_a_link_itself_is_the_one_that_was_named(tmp_path, folder):
    (folder / "a.txt").write_bytes(b"a")
    (tmp_path / "link").symlink_to(folder)
    archives.require_plain_files(tmp_path / "link")


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("../secret", "is a link to a place outside"),
        ("..", "is a link to a place outside"),
        ("/etc/passwd", "is a link to a place outside"),
        ("nowhere", "is a broken link"),
        ("link", "is a broken link"),
    ],
)
def test_a_link_that_leads_out_or_nowhere_is_refused(folder, target, fault):
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "deep").mkdir()
    (folder / "deep" / "link").symlink_to(target if target != "../secret" else "../../secret")
    with pytest.raises(DataError, match=rf"1 entries .*deep/link \({fault}"):
        archives.require_plain_files(folder if target != ".." else folder / "deep")


def test_a_pipe_is_refused(folder):
    os.mkfifo(folder / "pipe.jpg")
    with pytest.raises(DataError, match=r"pipe\.jpg \(is not a regular file\)"):
        archives.require_plain_files(folder)
