import hashlib
import subprocess

import pytest

from melanoma.data import images
from melanoma.data.sources.connection import Connection, DownloadError
from melanoma.data.sources.downloads import MANIFEST_NAME, RemoteFile, StoredFile, download_all
from melanoma.errors import DataError
from melanoma.fingerprint import sha256_of_file
from tests.data.archive_server import (
    Image,
    body,
    cut_in_the_middle,
    hang_up,
    serve,
    settings_for,
    shortened,
    status,
    truncated_of_right_size,
)

NUM_IMAGES = 5
FIRST = "ISIC_0000001"
FAULTS = {
    "overloaded": status(429, Retry_After="0"),
    "broken": status(500),
    "cut": cut_in_the_middle,
    "hung up": hang_up,
    "shortened": shortened,
    "truncated": truncated_of_right_size,
    "lengthened": body(bytes(100_000)),
    "a web page": body(b"<html>Please log in</html>", "text/html"),
}


@pytest.fixture
def archive():
    with serve([Image(number) for number in range(1, NUM_IMAGES + 1)]) as archive:
        yield archive


def remote(archive, image, signature="old"):
    url = f"{archive.url}/files/{image.isic_id}?signature={signature}"
    return RemoteFile(image.isic_id, url, len(image.content))


def download(archive, staging, known=None, wanted=None):
    by_id = {image.isic_id: image for image in archive.images}
    return download_all(
        wanted or [remote(archive, image) for image in archive.images],
        staging,
        connection=Connection(settings_for(archive)),
        known=known or {},
        renew=lambda isic_id: remote(archive, by_id[isic_id], "new"),
    )


def contents(archive):
    return {image.isic_id: image.content for image in archive.images}


# ---- what is downloaded ----------------------------------------------------------------------


def test_every_picture_comes_once_and_whole(archive, tmp_path):
    done = download(archive, tmp_path)
    assert {image_id: file.path.read_bytes() for image_id, file in done.files.items()} == contents(archive)
    assert done.failures == {}
    assert done.num_new == NUM_IMAGES
    assert archive.file_requests() == dict.fromkeys(done.files, 1)


def test_the_manifest_is_one_that_sha256sum_can_check(archive, tmp_path):
    download(archive, tmp_path)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", MANIFEST_NAME], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.count(b": OK") == NUM_IMAGES


@pytest.mark.parametrize(
    ("format_name", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("BMP", ".bmp"), ("WEBP", ".webp")]
)
def test_the_extension_follows_the_content(archive, tmp_path, format_name, suffix):
    archive.images = [Image(1, format_name=format_name)]
    assert download(archive, tmp_path).files[FIRST].path == tmp_path / "images" / f"{FIRST}{suffix}"


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_picture_that_fails_twice_comes_the_third_time(archive, tmp_path, fault):
    archive.faults[f"/files/{FIRST}"] = [fault, fault]
    done = download(archive, tmp_path)
    assert done.failures == {}
    assert done.files[FIRST].path.read_bytes() == contents(archive)[FIRST]
    assert archive.file_requests()[FIRST] == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("overloaded", "HTTP 429 Too Many Requests"),
        ("broken", "HTTP 500 Internal Server Error"),
        ("cut", "the connection was lost"),
        ("hung up", "the connection was lost"),
        ("shortened", "bytes of image/jpeg were received"),
        ("truncated", "the image cannot be decoded completely"),
        ("lengthened", "the answer has more than"),
        ("a web page", "26 bytes of text/html were received"),
    ],
)
def test_a_picture_that_fails_for_good_is_named_with_its_reason(archive, tmp_path, name, reason):
    archive.faults[f"/files/{FIRST}"] = [FAULTS[name]] * 9
    done = download(archive, tmp_path)
    assert list(done.failures) == [FIRST]
    assert reason in done.failures[FIRST]
    assert "(tried 3 times)" in done.failures[FIRST]
    assert len(done.files) == NUM_IMAGES - 1
    assert not list((tmp_path / "images").glob(f"*{FIRST}*"))


def test_a_page_of_the_announced_size_is_no_picture_and_not_asked_for_again(archive, tmp_path):
    page = b"<html>".ljust(len(archive.images[0].content))
    archive.faults[f"/files/{FIRST}"] = [body(page, "text/html")] * 9
    reason = download(archive, tmp_path).failures[FIRST]
    assert reason == "the bytes are not a JPEG, PNG, BMP, WEBP image; its content type is text/html"
    assert archive.file_requests()[FIRST] == 1


def test_a_picture_with_too_many_pixels_is_not_asked_for_again(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 64)
    assert download(archive, tmp_path / "legal").failures == {}
    archive.requests.clear()
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 64 - 1)
    reason = download(archive, tmp_path / "too-large").failures[FIRST]
    assert reason == "the image has 64 x 64 pixels, more than 4,095; its content type is image/jpeg"
    assert archive.file_requests()[FIRST] == 1


def test_a_missing_picture_is_not_tried_again(archive, tmp_path):
    archive.faults[f"/files/{FIRST}"] = [status(404)]
    assert download(archive, tmp_path).failures == {FIRST: "HTTP 404 Not Found"}
    assert archive.file_requests()[FIRST] == 1


# ---- expired addresses -----------------------------------------------------------------------


@pytest.mark.parametrize("code", [400, 403])
def test_an_expired_address_is_renewed(archive, tmp_path, code):
    archive.faults[f"/files/{FIRST}"] = [status(code)]
    assert download(archive, tmp_path).failures == {}
    assert archive.file_requests()[FIRST] == 2


def test_all_addresses_may_have_expired(archive, tmp_path):
    archive.expired = set(contents(archive))
    assert download(archive, tmp_path).failures == {}
    assert archive.file_requests() == dict.fromkeys(contents(archive), 2)


def test_an_address_that_is_refused_even_when_it_is_fresh_is_a_failure(archive, tmp_path):
    archive.faults[f"/files/{FIRST}"] = [status(403)] * 9
    assert download(archive, tmp_path).failures == {FIRST: "HTTP 403 Forbidden"}
    assert archive.file_requests()[FIRST] == 2


def test_a_renewal_that_fails_is_a_failure(archive, tmp_path):
    def gone(isic_id):
        raise DownloadError("HTTP 404 Not Found")

    archive.expired = {FIRST}
    wanted = [remote(archive, archive.images[0])]
    done = download_all(wanted, tmp_path, connection=Connection(settings_for(archive)), known={}, renew=gone)
    assert done.failures == {FIRST: "HTTP 404 Not Found, while its expired URL was renewed"}


# ---- going on --------------------------------------------------------------------------------


def test_what_is_here_is_not_downloaded_again(archive, tmp_path):
    first = download(archive, tmp_path)
    archive.requests.clear()
    second = download(archive, tmp_path)
    assert (second.files, second.num_new) == (first.files, 0)
    assert not archive.requests


def test_only_what_failed_is_asked_for_again(archive, tmp_path):
    archive.faults[f"/files/{FIRST}"] = [status(404)]
    download(archive, tmp_path)
    archive.requests.clear()
    assert download(archive, tmp_path).failures == {}
    assert archive.file_requests() == {FIRST: 1}


@pytest.mark.parametrize("damage", ["another byte", "shorter", "gone"])
def test_a_damaged_file_is_downloaded_again(archive, tmp_path, damage):
    path = download(archive, tmp_path).files[FIRST].path
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (b"" if damage == "shorter" else b"\0"))
    archive.requests.clear()
    download(archive, tmp_path)
    assert archive.file_requests() == {FIRST: 1}
    assert path.read_bytes() == content


def test_a_picture_that_changed_in_the_archive_is_downloaded_again(archive, tmp_path):
    download(archive, tmp_path)
    archive.requests.clear()
    archive.images[0] = Image(1, format_name="PNG")
    done = download(archive, tmp_path)
    assert archive.file_requests() == {FIRST: 1}
    assert done.files[FIRST].path.name == f"{FIRST}.png"


@pytest.mark.parametrize("rest", [b"", b"0123", b"0123  ", b"\xff\xfe\n\n  \n"])
def test_a_manifest_that_was_cut_short_costs_one_download(archive, tmp_path, rest):
    download(archive, tmp_path)
    manifest = tmp_path / MANIFEST_NAME
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:-1]) + rest)
    archive.requests.clear()
    assert download(archive, tmp_path).failures == {}
    assert sum(archive.file_requests().values()) == 1
    assert len(manifest.read_bytes().splitlines()) == NUM_IMAGES


def test_a_file_that_lies_elsewhere_is_used_when_it_is_intact(archive, tmp_path):
    elsewhere = tmp_path / "raw" / f"{FIRST}.jpg"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(contents(archive)[FIRST])
    known = {FIRST: StoredFile(elsewhere, sha256_of_file(elsewhere))}
    assert download(archive, tmp_path / "staging", known).files[FIRST].path == elsewhere
    assert FIRST not in archive.file_requests()
    elsewhere.write_bytes(contents(archive)[FIRST][:-1] + b"\0")
    assert download(archive, tmp_path / "staging", known).files[FIRST].path != elsewhere


def test_a_manifest_cannot_lead_out_of_its_folder(archive, tmp_path):
    outside = tmp_path / f"{FIRST}.jpg"
    outside.write_bytes(contents(archive)[FIRST])
    digest = hashlib.sha256(outside.read_bytes()).hexdigest()
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / MANIFEST_NAME).write_text(f"{digest}  images/../../{FIRST}.jpg\n")
    assert download(archive, staging).files[FIRST].path == staging / "images" / f"{FIRST}.jpg"


def test_a_staging_folder_that_cannot_be_written_is_told(archive, tmp_path):
    (tmp_path / "staging").write_bytes(b"")
    with pytest.raises(DataError, match=r"staging cannot be written .*finished downloads are kept"):
        download(archive, tmp_path / "staging")
