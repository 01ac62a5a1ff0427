"""What may be posted: each refusal and its legal twin, and any bytes at all."""

import base64
import gzip
import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma.serving.posted import JSON, RequestError, max_body_bytes, parse, require_json

LIMITS = {"max_rows": 3, "max_request_megabytes": 1, "min_image_side": 32}
IMAGE = base64.b64encode(b"image").decode()


def split(*data: Any, columns: Any = ("image",), **others: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": list(columns), "data": list(data)}, **others}


def records(*rows: Any, **others: Any) -> dict[str, Any]:
    return {"dataframe_records": list(rows), **others}


def read(content: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = parse(body, LIMITS)
    rows = zip(request.images, request.image_ids, strict=True)
    return [{"image": image, "image_id": image_id} for image, image_id in rows], dict(request.params)


@pytest.mark.parametrize(
    "content",
    [
        split([IMAGE, "a"], [IMAGE, None], columns=("image", "image_id")),
        split(["a", IMAGE], [None, IMAGE], columns=("image_id", "image")),
        records({"image": IMAGE, "image_id": "a"}, {"image": IMAGE}),
        records({"image": f"{IMAGE[:4]}\n{IMAGE[4:]}", "image_id": "a"}, {"image": IMAGE}, params=None),
    ],
)
def test_both_forms_give_bytes_and_ids_in_order(content):
    expected = [{"image": b"image", "image_id": "a"}, {"image": b"image", "image_id": None}]
    assert read(content) == (expected, {})


@pytest.mark.parametrize("content_type", [JSON, "Application/JSON", f"{JSON}; charset=UTF-8", f"{JSON};"])
def test_json_by_any_of_its_names_is_taken(content_type):
    require_json(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/csv",
        "application/vnd.apache.parquet",
        f"{JSON}; charset=latin-1",
        "multipart/form-data",
    ],
)
def test_another_content_type_is_refused_by_name(content_type):
    with pytest.raises(RequestError, match=rf"expected the header content-type: {JSON}") as caught:
        require_json(content_type)
    assert caught.value.status == 415


def test_known_parameters_are_handed_on():
    assert read(split([IMAGE], params={"threshold": 0.2, "explain": True}))[1] == {
        "threshold": 0.2,
        "explain": True,
    }


REFUSED = {
    "nothing": (b"", "not JSON"),
    "half an object": (b'{"dataframe_split": ', "not JSON"),
    "no UTF-8": (b"\xff\xfe\x00", "not JSON"),
    "brackets without end": (b"[" * 100_000, "not JSON"),
    "a number without end": (b'{"dataframe_records": ' + b"9" * 5000 + b"}", "not JSON"),
    "a list": ([split([IMAGE])], "expected an object with"),
    "a number": (3, "expected an object with"),
    "no known key": ({"inputs": {"image": [IMAGE]}}, "expected an object with"),
    "a key too many": (split([IMAGE], treshold=0.5), "expected an object with"),
    "both forms": (split([IMAGE]) | records({"image": IMAGE}), "expected an object with"),
    "split that is none": ({"dataframe_split": [[IMAGE]]}, "must be an object with"),
    "split without data": ({"dataframe_split": {"columns": ["image"]}}, "must be an object with"),
    "columns that are none": (split([IMAGE], columns=[1]), '"columns" must be a list of names'),
    "data that are none": ({"dataframe_split": {"columns": ["image"], "data": 3}}, '"data" must be a list'),
    "records that are none": ({"dataframe_records": {"image": IMAGE}}, "must be a list of objects"),
    "a record that is none": (records([IMAGE]), "must be a list of objects"),
    "another column": (split([IMAGE], columns=("picture",)), "expected the column image .*, got picture"),
    "a column too many": (split([IMAGE, 1], columns=("image", "age")), "got age, image"),
    "a column twice": (split([IMAGE, IMAGE], columns=("image", "image")), "got image, image"),
    "a record without": (records({"image": IMAGE}, {}), "row 1: expected the column image .*, got none"),
    "a short row": (split([IMAGE], []), "row 1: expected a list of 1 values"),
    "no rows": (split(), "expected 1 to 3 rows, got 0"),
    "no records": (records(), "expected 1 to 3 rows, got 0"),
    "four rows": (split(*[[IMAGE]] * 4), "expected 1 to 3 rows, got 4"),
    "no base64": (split([IMAGE], ["!?"]), "1 of 2 rows refused: row 1: image must be base64"),
    "base64 cut short": (split([IMAGE[:-3]]), "row 0: image must be base64"),
    "letters beyond ASCII": (split(["ä" * 8]), "row 0: image must be base64"),
    "no text": (records({"image": 3}), "row 0: image must be base64 of an image file, got int"),
    "null": (records({"image": None}), "row 0: image must be base64 of an image file, got NoneType"),
    "an id that is a number": (records({"image": IMAGE, "image_id": 3}), "row 0: image_id must be a string"),
    "parameters that are none": (split([IMAGE], params=[1]), "params must be an object, got list"),
    "a threshold in words": (
        split([IMAGE], params={"threshold": "0.5"}),
        "params.threshold must be a number",
    ),
    "a threshold that is true": (split([IMAGE], params={"threshold": True}), "must be a number, got bool"),
    "explain in words": (split([IMAGE], params={"explain": "yes"}), "params.explain must be true or false"),
    "explain as a number": (split([IMAGE], params={"explain": 1}), "params.explain must be true or false"),
    "an unknown parameter": (
        split([IMAGE], params={"treshold": 0.1}),
        "unknown params.treshold; expected threshold, explain",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_faulty_request_is_refused_with_its_reason(fault):
    content, reason = REFUSED[fault]
    with pytest.raises(RequestError) as caught:
        read(content)
    assert re.search(reason, str(caught.value))
    assert caught.value.status == 400
    assert len(str(caught.value)) < 400  # never the body itself


def test_a_body_may_be_as_large_as_its_images_in_base64():
    assert max_body_bytes(LIMITS) == 2**20 * 4 // 3 + 4 * 2048


def test_the_first_five_bad_rows_are_named():
    with pytest.raises(RequestError, match=r"7 of 8 rows refused: row 1: .*row 5: .* and 2 more"):
        parse(json.dumps(split([IMAGE], *[["!"]] * 7)).encode(), LIMITS | {"max_rows": 8})


# ---- ways to write base64 ----------------------------------------------------------------------

ENCODED = bytes(range(256)) * 3 + b"\xfb\xff\xfe~"  # its base64 has both letters that URLs do not take
TEXT = base64.b64encode(ENCODED).decode()
URL_TEXT = base64.urlsafe_b64encode(ENCODED).decode()
WRITTEN = {
    "standard": TEXT,
    "unpadded": TEXT.rstrip("="),
    "for URLs": URL_TEXT,
    "for URLs, unpadded": URL_TEXT.rstrip("="),
    "with line breaks": "\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)),
    "with spaces": " ".join(TEXT[at : at + 10] for at in range(0, len(TEXT), 10)),
    "with spaces around": f"  {TEXT}\n",
    "for URLs with tabs, unpadded": "\t".join((URL_TEXT[:7], URL_TEXT[7:].rstrip("="))),
    "a data URL": f"data:image/jpeg;base64,{TEXT}",
    "a data URL with a charset": f"DATA:image/png;charset=utf-8;base64,{TEXT}",
    "a data URL without a type": f"data:;base64,{URL_TEXT.rstrip('=')}",
}


@pytest.mark.parametrize("way", WRITTEN)
def test_base64_is_read_in_all_usual_ways(way):
    assert {"+", "/", "="} <= set(TEXT)
    assert read(split([WRITTEN[way]]))[0][0]["image"] == ENCODED


@pytest.mark.parametrize(
    "text",
    [
        "data:image/jpeg,abcd",
        "data:image/jpeg;base64",
        "data:image/jpeg;base64," + TEXT[:-1] + "!",
        TEXT[:100] + "-" + TEXT[101:],  # of both alphabets
        TEXT[:9],  # one letter is no byte
        TEXT[:10] + "=" + TEXT[10:],
        "/tmp/a.jpg",
        "",
        "%2B%2B",
    ],
)
def test_what_is_no_base64_is_refused_with_a_way_to_make_it(text):
    if not text:  # decodes to nothing, which is no image
        assert read(split([text]))[0][0]["image"] == b""
        return
    with pytest.raises(RequestError, match=r"must be base64 .* in Python: base64\.b64encode"):
        read(split([text]))


# ---- JSON that can be read in two ways, and ids ------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            '{"dataframe_records": [], "dataframe_records": []}',
            "an object has a key twice: dataframe_records",
        ),
        ('{"dataframe_records": [{"image": "QUJD", "image": "QUJE"}]}', "an object has a key twice: image"),
        (
            '{"dataframe_records": [{"image": "QUJD"}], "params": {"threshold": 1, "threshold": 0}}',
            "threshold",
        ),
        ('{"dataframe_records": [{"image": "QUJD"}], "params": {"threshold": NaN}}', "NaN is not JSON"),
        (
            '{"dataframe_records": [{"image": "QUJD"}], "params": {"threshold": -Infinity}}',
            "-Infinity is not",
        ),
        ('{"dataframe_records": [{"image": "QUJD"}], "params": {"threshold": 0.1}', "the body is not JSON"),
    ],
)
def test_json_that_could_be_read_in_two_ways_is_refused(body, reason):
    with pytest.raises(RequestError, match=reason):
        read(body.encode())


def test_a_key_may_stand_in_two_objects():
    assert len(read(records({"image": IMAGE}, {"image": IMAGE}))[0]) == 2


def test_a_byte_order_mark_is_passed_over_and_other_encodings_are_refused():
    body = json.dumps(split([IMAGE]))
    assert read(b"\xef\xbb\xbf" + body.encode())[0][0]["image"] == b"image"
    for encoding in ("utf-16", "utf-32"):
        with pytest.raises(RequestError, match="the body is not JSON"):
            read(body.encode(encoding))
    with pytest.raises(RequestError, match="the body is not JSON"):
        read(body.encode().replace(b"image", b"im\xedge"))


def test_a_compressed_body_is_named():
    with pytest.raises(RequestError, match="it looks compressed, send it uncompressed"):
        read(gzip.compress(json.dumps(split([IMAGE])).encode()))


def test_millions_of_tiny_values_are_refused_before_they_are_parsed():
    start = time.perf_counter()
    for unit in (b"[],", b"{},", b"1,", b'"":'):
        with pytest.raises(RequestError, match=r"the body has [0-9,]+ brackets"):
            read(b"[" + unit * 5_000_000)
    assert time.perf_counter() - start < 5  # to parse one of them takes longer


@pytest.mark.parametrize("image_id", ["x" * 256, "мелано́ма 黒色腫 ü", "a, b: [c] {d}", "," * 256, ""])
def test_an_id_of_any_letters_is_taken(image_id):
    assert read(records({"image": IMAGE, "image_id": image_id}))[0][0]["image_id"] == image_id


@pytest.mark.parametrize(
    ("image_id", "reason"),
    [
        ("x" * 257, "row 0: image_id has 257 characters, at most 256 are allowed"),
        ("x" * 100_000, "image_id has 100,000 characters"),
        *((f"a{mark}b", "image_id has control characters") for mark in "\0\n\r\t\x1b\x7f\x85\u2028\ud800"),
    ],
)
def test_an_id_that_no_log_or_table_holds_is_refused(image_id, reason):
    with pytest.raises(RequestError, match=reason):
        read(records({"image": IMAGE, "image_id": image_id}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(IMAGE),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["image", "image_id", "columns", "data", "index"]), inner)
    ),
    max_leaves=12,
)
contents = st.dictionaries(
    st.sampled_from(["dataframe_split", "dataframe_records", "params", "inputs"]), json_values, max_size=2
)


@settings(deadline=None, max_examples=300)
@given(body=st.binary(max_size=200) | contents.map(lambda content: json.dumps(content).encode()))
def test_any_body_is_read_or_refused_by_name(body):
    try:
        request = parse(body, LIMITS)
    except RequestError as error:
        assert str(error)
    else:
        assert 1 <= len(request.images) == len(request.image_ids) <= 3
        assert all(isinstance(encoded, bytes) for encoded in request.images)
        assert all(isinstance(image_id, str | None) for image_id in request.image_ids)
        assert set(request.params) <= {"threshold", "explain"}
