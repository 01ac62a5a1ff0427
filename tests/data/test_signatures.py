"""Sizes are those that Pillow reads, and bytes of other formats are named with what to do."""

import base64
import gzip
import struct
from typing import Any

import pytest
from PIL import Image

from melanoma.data import images, signatures
from melanoma.errors import ImageError
from tests.data.pictures import encode

SAVED: dict[str, list[dict[str, Any]]] = {
    "JPEG": [{}, {"progressive": True}, {"comment": b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01"}],
    "PNG": [{}, {"optimize": True}],
    "BMP": [{}],
    "WEBP": [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}],
}


@pytest.mark.parametrize("size", [(1, 1), (300, 200), (129, 1023)])
@pytest.mark.parametrize("name", SAVED)
def test_the_stored_size_is_read_from_the_header(name, size):
    for options in SAVED[name]:
        encoded = encode(Image.new("RGB", size, (200, 150, 130)), name, **options)
        assert signatures.stored_size(encoded) == size == images.open_image(encoded).size
        assert signatures.format_of(encoded) == name


def test_the_size_of_a_thumbnail_is_not_that_of_the_picture():
    small, large = (encode(Image.new("RGB", size), "JPEG") for size in ((60, 40), (600, 400)))
    segment = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    assert signatures.stored_size(large[:2] + segment + large[2:]) == (600, 400)


def test_a_bmp_whose_rows_start_at_the_top_has_a_negative_height():
    encoded = bytearray(encode(Image.new("RGB", (30, 20)), "BMP"))
    encoded[22:26] = struct.pack("<i", -20)
    assert signatures.stored_size(bytes(encoded)) == (30, 20)


def test_a_webp_of_38_bytes_claims_all_its_pixels():
    lossless = encode(Image.new("RGB", (8000, 8000)), "WEBP", lossless=True)
    assert signatures.stored_size(lossless[:38]) == (8000, 8000)


@pytest.mark.parametrize("name", SAVED)
def test_a_header_that_is_cut_has_no_size(name):
    encoded = encode(Image.new("RGB", (30, 20)), name)
    for length in range(16):
        assert signatures.stored_size(encoded[:length]) is None


def test_a_jpeg_of_endless_segments_has_no_size():
    encoded = encode(Image.new("RGB", (30, 20)), "JPEG")
    assert signatures.stored_size(encoded[:2] + b"\xff\xfe\x00\x02" * 1_000_000 + encoded[2:]) is None


OTHERS = {
    "HEIC: convert it to JPEG or PNG": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "AVIF: convert it to JPEG or PNG": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1",
    "GIF: convert it to JPEG or PNG": encode(Image.new("P", (9, 9)), "GIF"),
    "TIFF": encode(Image.new("RGB", (9, 9)), "TIFF"),
    "DICOM: convert it to JPEG or PNG": bytes(128) + b"DICM" + bytes(50),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
    "PDF": b"%PDF-1.4",
    "SVG or XML": b"<svg></svg>",
    "gzip: decompress it first": gzip.compress(b"picture"),
    "ZIP: unpack it first": b"PK\x03\x04" + bytes(40),
    "base64 text: it was encoded twice": base64.b64encode(encode(Image.new("RGB", (9, 9)), "JPEG")),
    "base64 text": b"data:image/png;base64,iVBORw0KGgo=",
}


@pytest.mark.parametrize("words", OTHERS)
def test_another_format_is_named_with_what_to_do(words):
    with pytest.raises(ImageError) as caught:
        images.open_image(OTHERS[words])
    assert f"this looks like {words}" in str(caught.value)


@pytest.mark.parametrize("encoded", [b"", b"text", bytes(99)])
def test_of_unknown_bytes_nothing_is_said(encoded):
    with pytest.raises(ImageError, match=r"^the bytes are not a JPEG, PNG, BMP, WEBP image$"):
        images.open_image(encoded)
