import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from melanoma.data import archives
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
    assert_refused(archive, folder, r"holds 1 members that are not allowed: .*evil\.txt \(leads out")


def test_a_link_is_refused(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("good.txt", b"good")
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert_refused(tmp_path / "bad.zip", folder, r"link \(is a link\)\. Nothing was unpacked")


def test_an_encrypted_member_is_refused(tmp_path, folder):
    path = zip_of(tmp_path / "bad.zip", {"good.txt": b"good"})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # flags in the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(content)
    assert_refused(path, folder, r"good\.txt \(is encrypted\)")


def test_a_large_member_that_shrinks_more_than_200_times_is_refused(tmp_path, folder):
    path = zip_of(tmp_path / "bomb.zip", {"zeros.bmp": bytes(65 * MEBIBYTE)})
    assert path.stat().st_size < MEBIBYTE
    assert_refused(path, folder, r"zeros\.bmp \(unpacks to more than 200 times its size\)")


def test_a_small_member_may_shrink_by_any_factor(tmp_path, folder):
    archives.unpack_zip(zip_of(tmp_path / "flat.zip", {"mask.bmp": bytes(2 * MEBIBYTE)}), folder)
    assert (folder / "mask.bmp").stat().st_size == 2 * MEBIBYTE


def test_more_bytes_in_all_than_allowed_are_refused(tmp_path, folder, monkeypatch):
    archive = zip_of(tmp_path / "large.zip", {"a": bytes(60), "b": bytes(40)})
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 99)
    assert_refused(
        archive, folder, "would unpack to 2 files of 100 bytes; allowed are 500,000 files and 99 bytes"
    )
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 100)
    archives.unpack_zip(archive, folder)
    assert set(files_below(folder)) == {"a", "b"}


def test_more_members_than_allowed_are_refused(tmp_path, folder, monkeypatch):
    archive = zip_of(tmp_path / "many.zip", {"a": b"", "b": b"", "c": b""})
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    assert_refused(archive, folder, "would unpack to 3 files of 0 bytes; allowed are 2 files")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    archives.unpack_zip(archive, folder)
    assert set(files_below(folder)) == {"a", "b", "c"}


def test_the_first_five_bad_members_are_named(tmp_path, folder):
    archive = zip_of(tmp_path / "bad.zip", {f"../{number}": b"" for number in range(7)})
    assert_refused(archive, folder, r"7 members .*\.\./4 \(leads out of the folder\) and 2 more\. Nothing")


@pytest.mark.parametrize("content", [b"", b"404 Not Found", bytes(1000), b"PK\x03\x04"])
def test_what_is_no_zip_is_refused(tmp_path, folder, content):
    (tmp_path / "bad.zip").write_bytes(content)
    assert_refused(tmp_path / "bad.zip", folder, r"bad\.zip is no readable zip .* Download it again")


@pytest.mark.parametrize("num_tenths", range(1, 10))
def test_a_truncated_zip_is_refused(tmp_path, folder, num_tenths):
    path = zip_of(tmp_path / "bad.zip", {f"{number}": bytes(range(256)) for number in range(10)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * num_tenths // 10])
    assert_refused(path, folder, "is no readable zip")


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_damaged_content_is_refused_however_it_is_packed(tmp_path, folder, compression):
    noise = np.random.default_rng(0).integers(0, 4, 50_000, dtype=np.uint8).tobytes()
    path = zip_of(tmp_path / "zip.zip", {"noise": noise}, compression=compression)
    archives.unpack_zip(path, folder)
    assert files_below(folder) == {"noise": noise}

    content = bytearray(path.read_bytes())
    for place in range(200, len(content) - 300, 7):
        content[place] ^= 0x5A
    path.write_bytes(content)
    with pytest.raises(DataError, match="is no readable zip"):
        archives.unpack_zip(path, folder)


@pytest.mark.parametrize(
    "members",
    [{"a" * 300: b""}, {"a": b"", "a/b": b""}],
    ids=["a name too long", "a folder where a file is"],
)
def test_names_that_no_folder_can_hold_are_refused(tmp_path, folder, members):
    with pytest.raises(DataError, match="is no readable zip"):
        archives.unpack_zip(zip_of(tmp_path / "bad.zip", members), folder)


def test_a_name_in_broken_utf8_is_refused(tmp_path, folder):
    path = zip_of(tmp_path / "bad.zip", {"é": b""})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xfe"))
    assert_refused(path, folder, "is no readable zip")
