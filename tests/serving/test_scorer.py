"""The served model through `mlflow.pyfunc`, as the scoring server calls it."""

import base64
import hashlib
import io
import pathlib
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from PIL import Image

from melanoma.data.images import load_square
from melanoma.serving.network import Network
from tests.serving.conftest import LIMITS, POINT

COLUMNS = [
    "prediction_id",
    "image_id",
    "image_sha256",
    "probability",
    "decision",
    "reason",
    "positive_means",
    "threshold",
    "model_version",
    "verification",
    "note",
]
MAX_ROWS = LIMITS["max_rows"]


def rows(*encoded: object, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"image": pd.Series(list(encoded), dtype=object), **columns})


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "green")]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\x00"))
        + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def network(network_folder):
    return Network(network_folder / "model.onnx")


@pytest.fixture(scope="module")
def bad_bytes(pictures):
    """By kind of fault: bytes that are refused and the reason that is given."""
    small = Image.new("RGB", (40, 40))
    return {
        "empty": (b"", "the bytes are not a JPEG, PNG, BMP, WEBP image"),
        "text": (b"a line of text", "the bytes are not a JPEG, PNG, BMP, WEBP image"),
        "gif": (encode(small, "GIF"), "the bytes are not a JPEG, PNG, BMP, WEBP image"),
        "tiff": (encode(small, "TIFF"), "the bytes are not a JPEG, PNG, BMP, WEBP image"),
        "signature alone": (pictures["PNG"][:8], "the bytes are not a JPEG, PNG, BMP, WEBP image"),
        "truncated jpeg": (pictures["JPEG"][:-200], "the image cannot be decoded completely"),
        "truncated png": (pictures["PNG"][:-3000], "the image cannot be decoded completely"),
        "truncated bmp": (pictures["BMP"][:-3000], "the image cannot be decoded completely"),
        "truncated webp": (pictures["WEBP"][:-200], "the bytes are not a JPEG, PNG, BMP, WEBP image"),
        "animated png": (animated("PNG"), r"the image is animated \(2 frames\)"),
        "animated webp": (animated("WEBP"), r"the image is animated \(2 frames\)"),
        "huge header": (png_that_claims(10_000, 10_000), "10000 x 10000 pixels, more than 64,000,000"),
        "gigantic header": (png_that_claims(2**30, 2**30), "pixels, more than 64,000,000"),
        "too small": (
            encode(Image.new("RGB", (400, 31)), "PNG"),
            "400 x 31 pixels, each side needs at least 32",
        ),
        "one colour": (encode(Image.new("RGB", (40, 40), "brown"), "PNG"), "brightness is almost uniform"),
    }


FAULTS = [
    "empty", "text", "gif", "tiff", "signature alone", "truncated jpeg", "truncated png", "truncated bmp",
    "truncated webp", "animated png", "animated webp", "huge header", "gigantic header", "too small",
    "one colour",
]  # fmt: skip


def refusal(served, frame: pd.DataFrame, **params: object) -> str:
    """The message of a refusal that the scoring server answers as 400."""
    with pytest.raises(MlflowException) as caught:
        served.predict(frame, params=params or None)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert caught.value.get_http_status_code() == 400
    return str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_every_format_is_answered_with_the_score_of_its_pixels(served, network, pictures, kind):
    answer = served.predict(rows(pictures[kind]))
    pixels = load_square(pictures[kind], 32)
    assert answer.columns.tolist() == COLUMNS
    score = network.score(pixels[None], batch_size=64)
    assert answer["probability"].tolist() == POINT.calibration.apply(score).tolist()


def test_lossless_formats_of_one_picture_get_one_answer(served, pictures):
    png, bmp = served.predict(rows(pictures["PNG"], pictures["BMP"]))["probability"]
    assert png == bmp


def test_answers_stand_in_the_order_of_the_rows(served, images):
    encoded = [encode(Image.fromarray(image), "PNG") for image in images[:20]]
    together = served.predict(rows(*encoded))["probability"].to_numpy()
    alone = [served.predict(rows(one))["probability"][0] for one in encoded]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    assert len(set(together)) == 20


@pytest.fixture(scope="module")
def twenty(images):
    """Twenty pictures, each with a probability of its own."""
    return rows(*[encode(Image.fromarray(image), "PNG") for image in images[:20]])


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_row_keeps_its_own_probability_when_rows_are_shuffled_and_filtered(served, twenty, data):
    right = served.predict(twenty)["probability"]
    labels = data.draw(st.lists(st.sampled_from(range(20)), min_size=1, unique=True))
    mixed = twenty.loc[labels].copy()
    mixed["probability"] = served.predict(mixed[["image"]])["probability"]  # pandas joins by index
    np.testing.assert_allclose(mixed["probability"], right.loc[labels], rtol=0, atol=1e-6)
    assert right.nunique() == 20


@pytest.mark.parametrize("index", [["b", "a", "b"], [2.5, 0.5, 1.5], pd.MultiIndex.from_tuples([(1, 2)] * 3)])
def test_any_index_comes_back_as_it_was(served, pictures, index):
    asked = rows(*[pictures["PNG"]] * 3).set_index(pd.Index(index))
    pd.testing.assert_index_equal(served.predict(asked).index, asked.index)


def test_every_answer_names_the_digest_of_the_bytes_that_it_is_about(served, pictures):
    encoded = list(pictures.values())
    answer = served.predict(rows(*encoded))
    assert answer["image_sha256"].tolist() == [hashlib.sha256(one).hexdigest() for one in encoded]


def test_bytearray_and_memoryview_are_answered_as_bytes_are(served, pictures):
    png = pictures["PNG"]
    answer = served.predict(rows(png, bytearray(png), memoryview(png)))
    assert len(set(answer["probability"])) == 1


def others(png: bytes) -> list[tuple[object, str]]:
    """What callers pass instead of bytes, and what the message must tell them to pass."""
    text = base64.b64encode(png).decode()
    return [
        (text, r"is base64 text; .*base64\.b64decode\(text\).*use -t json"),
        (text.rstrip("="), "is base64 text"),
        (base64.urlsafe_b64encode(png).decode(), "is base64 text"),
        (f"data:image/png;base64,{text}", "is base64 text"),
        ("images/SYN_00001.jpg", r"is a string or a path; .*pathlib\.Path\(path\)\.read_bytes\(\)"),
        (pathlib.Path("images/SYN_00001.jpg"), "is a string or a path"),
        (Image.new("RGB", (40, 40)), r"is a PIL image; .*image\.save\(stream"),
        (np.zeros((40, 40, 3), np.uint8), r"is an array; .*fromarray"),
        (None, "is missing"),
        (float("nan"), "is missing"),
        (pd.NA, "is missing"),
        (7, "is of type int"),
    ]


@pytest.mark.parametrize("at", range(12))
def test_other_objects_are_refused_with_what_to_pass(served, pictures, at):
    given_instead, expected = others(pictures["PNG"])[at]
    message = refusal(served, rows(pictures["PNG"], given_instead))
    assert re.search(rf"1 of 2 rows refused: row 1: image {expected}", message)


def test_trailing_zero_bytes_are_not_lost_on_the_way(served, pictures):
    padded = pictures["BMP"] + b"\x00" * 8
    probabilities = served.predict(rows(pictures["BMP"], padded))["probability"]
    assert probabilities[0] == probabilities[1]


def test_image_ids_are_carried(served, pictures):
    answer = served.predict(rows(pictures["PNG"], pictures["BMP"], image_id=["b", "a"]))
    assert answer["image_id"].tolist() == ["b", "a"]


def test_image_ids_may_be_absent(served, pictures):
    assert served.predict(rows(pictures["PNG"]))["image_id"].isna().all()


def test_one_of_several_image_ids_may_be_missing_and_is_null_in_json(served, pictures):
    answer = served.predict(rows(pictures["PNG"], pictures["PNG"], image_id=["a", None]))
    assert answer["image_id"].tolist() == ["a", None]


def test_the_operating_point_of_the_model_decides_among_three_answers(served, images):
    answer = served.predict(rows(*[encode(Image.fromarray(image), "PNG") for image in images[:40]]))
    assert (answer["threshold"] == POINT.threshold).all()
    assert answer["decision"].tolist() == POINT.decide(answer["probability"].to_numpy()).tolist()
    assert set(answer["decision"]) == {"negative", "refer", "positive"}


def test_a_threshold_of_the_caller_leaves_two_answers(served, images):
    frame = rows(*[encode(Image.fromarray(image), "PNG") for image in images[:40]])
    answer = served.predict(frame, params={"threshold": POINT.threshold})
    expected = np.where(answer["probability"] >= POINT.threshold, "positive", "negative")
    assert answer["decision"].tolist() == expected.tolist()


def test_answers_say_that_this_is_no_device_and_that_the_images_were_drawn(served, pictures):
    note = served.predict(rows(pictures["PNG"]))["note"][0]
    assert note.startswith("research software, not a medical device; trained on synthetic images only")


def test_a_threshold_of_the_caller_decides_at_that_threshold(served, pictures):
    frame = rows(pictures["PNG"])
    probability = float(served.predict(frame)["probability"][0])
    at = served.predict(frame, params={"threshold": probability})
    above = served.predict(frame, params={"threshold": float(np.nextafter(probability, 1))})
    assert (at["decision"][0], at["threshold"][0]) == ("positive", probability)
    assert above["decision"][0] == "negative"


def test_a_threshold_of_the_caller_holds_for_one_call(served, pictures):
    served.predict(rows(pictures["PNG"]), params={"threshold": 0.9})
    assert served.predict(rows(pictures["PNG"]))["threshold"][0] == POINT.threshold


@pytest.mark.parametrize(("threshold", "decision"), [(0.0, "positive"), (1.0, "negative"), (1, "negative")])
def test_the_bounds_of_the_threshold_are_taken(served, pictures, threshold, decision):
    answer = served.predict(rows(pictures["PNG"]), params={"threshold": threshold})
    assert (answer["threshold"][0], answer["decision"][0]) == (threshold, decision)


def test_an_explanation_is_a_picture_of_the_size_that_the_network_sees(served, pictures):
    plain = served.predict(rows(pictures["PNG"]))
    explained = served.predict(rows(pictures["PNG"], pictures["JPEG"]), params={"explain": True})
    assert "saliency" not in plain
    assert explained["probability"][0] == pytest.approx(plain["probability"][0], abs=1e-6)
    for encoded in explained["saliency"]:
        picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert (picture.format, picture.size, picture.mode) == ("PNG", (32, 32), "RGB")


def test_more_rows_than_may_be_explained_are_refused(served, pictures):
    message = refusal(served, rows(*[pictures["PNG"]] * 3), explain=True)
    assert "expected 1 to 2 rows, got 3" in message


@pytest.mark.parametrize("explain", ["yes", 1, [True]])
def test_only_true_and_false_say_whether_to_explain(served, pictures, explain):
    assert "explain" in refusal(served, rows(pictures["PNG"]), explain=explain)


def test_no_threshold_of_the_caller_leaves_the_operating_point(served, pictures):
    answer = served.predict(rows(pictures["PNG"]), params={"threshold": None})
    assert answer["threshold"][0] == POINT.threshold


@pytest.mark.parametrize("threshold", [-0.001, float("-inf"), 1.0000001, 2.0, float("inf"), float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(served, pictures, threshold):
    message = refusal(served, rows(pictures["PNG"]), threshold=threshold)
    assert f"params.threshold must be between 0 and 1, got {threshold}" in message


@pytest.mark.parametrize("threshold", ["high", True, [0.5], {"a": 1}])
def test_a_threshold_that_is_no_number_is_refused(served, pictures, threshold):
    assert "threshold" in refusal(served, rows(pictures["PNG"]), threshold=threshold)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_row_is_refused_by_number_and_reason(served, pictures, bad_bytes, fault):
    encoded, reason = bad_bytes[fault]
    message = refusal(served, rows(pictures["PNG"], pictures["JPEG"], encoded))
    assert re.search(rf"1 of 3 rows refused: row 2: .*{reason}", message)


def test_every_fault_that_is_listed_is_tried(bad_bytes):
    assert list(bad_bytes) == FAULTS


def test_the_first_five_bad_rows_are_named(served, pictures):
    message = refusal(served, rows(pictures["PNG"], *[b"text"] * 7))
    assert "7 of 8 rows refused: row 1: " in message
    assert "row 5: " in message
    assert "row 6: " not in message
    assert message.endswith("and 2 more")


def test_a_column_of_numbers_is_refused(served):
    assert "image" in refusal(served, pd.DataFrame({"image": [1, 2]}))


def test_a_frame_without_images_is_refused(served, pictures):
    assert "image" in refusal(served, pd.DataFrame({"picture": [pictures["PNG"]]}))


def test_no_rows_are_refused(served):
    assert f"expected 1 to {MAX_ROWS} rows, got 0" in refusal(served, rows())


def test_as_many_rows_as_allowed_are_answered_and_one_more_is_refused(served, pictures):
    encoded = pictures["JPEG"]
    assert len(served.predict(rows(*[encoded] * MAX_ROWS))) == MAX_ROWS
    message = refusal(served, rows(*[encoded] * (MAX_ROWS + 1)))
    assert f"expected 1 to {MAX_ROWS} rows, got {MAX_ROWS + 1}" in message


def test_images_of_too_many_bytes_together_are_refused(served, pictures):
    padded = pictures["BMP"] + bytes(2**20 - len(pictures["BMP"]))
    assert len(served.predict(rows(padded, padded))) == 2
    message = refusal(served, rows(padded, padded + b"x"))
    assert "the images have 2,097,153 bytes together, at most 2,097,152 are allowed" in message


@pytest.mark.parametrize("fault", FAULTS)
def test_a_good_call_after_a_refusal_is_answered_as_before(served, pictures, bad_bytes, fault):
    before = served.predict(rows(pictures["JPEG"], image_id=["a"]))
    refusal(served, rows(bad_bytes[fault][0]))
    pd.testing.assert_frame_equal(served.predict(rows(pictures["JPEG"], image_id=["a"])), before)


def test_threads_that_mix_good_and_bad_calls_get_their_own_answers(served, pictures):
    expected = {kind: served.predict(rows(pictures[kind]))["probability"][0] for kind in pictures}

    def call(kind: str) -> float | str:
        return (
            refusal(served, rows(b"text"))
            if kind == "bad"
            else float(served.predict(rows(pictures[kind]))["probability"][0])
        )

    kinds = ["JPEG", "bad", "PNG", "BMP", "bad", "WEBP"] * 10
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(call, kinds))
    for kind, answer in zip(kinds, answers, strict=True):
        assert "rows refused" in str(answer) if kind == "bad" else answer == expected[kind]


@st.composite
def damaged(draw, pictures: dict[str, bytes]) -> bytes:
    """Any bytes, or a good file cut short, written over or with its pieces repeated."""
    whole = draw(st.sampled_from([*pictures.values(), b""]))
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(len(whole), start + 40)))
    return whole[:start] + draw(st.binary(max_size=60)) + whole[end : draw(st.integers(end, len(whole)))]


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_bytes_are_answered_or_refused_by_name(served, pictures, data):
    encoded = data.draw(damaged(pictures))
    try:
        answer = served.predict(rows(encoded))
    except MlflowException as error:
        assert error.error_code == "INVALID_PARAMETER_VALUE"
        assert "1 of 1 rows refused: row 0: " in str(error)
    else:
        assert 0 <= answer["probability"][0] <= 1
        assert answer["decision"][0] in {"negative", "refer", "positive"}
