from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from melanoma.data.groups import duplicates, hamming
from melanoma.data.hashes import THUMBNAIL_SIDE, orientations
from tests.data.inspecting import inspect_images
from tests.data.known_copies import FAR_ON_ISIC, NEAR_ON_ISIC, SAME_BYTES_ON_ISIC
from tests.data.pictures import encode, textured
from tests.execution.backends import processes

SETTINGS: dict[str, Any] = {
    "max_distance": 6,
    "min_correlation": 0.72,
    "fine_structure_sigma": 2.0,
    "known_pairs": [],
}


@pytest.fixture
def inspect(tmp_path, params):
    """Writes files by name and gives their facts."""

    def write_and_inspect(files: dict[str, bytes]) -> pd.DataFrame:
        for name, encoded in files.items():
            (tmp_path / name).write_bytes(encoded)
        records = pd.DataFrame({"image_id": list(files), "path": list(files), "mask_path": None})
        return inspect_images(
            records, root=tmp_path, settings=params.inspect, execution=processes(), description="test"
        )

    return write_and_inspect


def find(table: pd.DataFrame, **changes: Any) -> pd.DataFrame:
    return duplicates.find_duplicates(table, **SETTINGS | changes)


def triples(pairs: pd.DataFrame) -> list[tuple[str, str, str]]:
    return list(pairs[["image_id", "other_image_id", "reason"]].itertuples(index=False, name=None))


def with_thumbnails(table: pd.DataFrame, *, copied: list[tuple[int, int]]) -> pd.DataFrame:
    """`table` with the thumbnail of the first row of each pair copied to the second."""
    thumbnails = table["thumbnail"].tolist()
    for row, other in copied:
        thumbnails[other] = thumbnails[row]
    return table.assign(thumbnail=thumbnails)


def with_hashes(table: pd.DataFrame, hashes_of: dict[int, list[int]]) -> pd.DataFrame:
    """`table` with the hashes of some rows replaced."""
    hashes = table["phashes"].tolist()
    for row, replacement in hashes_of.items():
        hashes[row] = replacement
    return table.assign(phashes=hashes)


def random_facts(num_images: int) -> pd.DataFrame:
    """Facts of images that are nothing like each other, named by their row."""
    generator = np.random.default_rng(4)
    hashes = generator.integers(-(2**63), 2**63 - 1, size=(num_images, 8))
    thumbnails = generator.integers(0, 256, size=(num_images, THUMBNAIL_SIDE**2), dtype=np.uint8)
    return pd.DataFrame(
        {
            "image_id": [f"{row:04}" for row in range(num_images)],
            "decodes": True,
            "sha256": [f"bytes-{row}" for row in range(num_images)],
            "pixels_sha256": [f"pixels-{row}" for row in range(num_images)],
            "phashes": hashes.tolist(),
            "thumbnail": [thumbnail.tobytes() for thumbnail in thumbnails],
        }
    )


# ---- pairs of copies -------------------------------------------------------------------------


def test_a_pair_has_the_strongest_of_its_reasons_once_and_equal_images_one_partner(inspect):
    bytes_of_a, other = encode(textured(1), "PNG"), encode(textured(2), "PNG")
    copy = encode(textured(1), "JPEG", quality=60)
    pairs = find(
        inspect({"a": bytes_of_a, "b": bytes_of_a, "c": encode(textured(1), "BMP"), "d": other, "e": copy})
    )
    assert triples(pairs) == [
        ("a", "b", "same bytes"),
        ("a", "c", "same pixels"),
        ("a", "e", "near duplicate"),
    ]
    assert pairs["distance"].tolist()[:2] == [0, 0]
    assert pairs["correlation"].tolist()[:2] == [1, 1]
    assert 0.72 < pairs["correlation"][2] < 1


@pytest.mark.parametrize("orientation", range(8))
def test_a_turned_resized_and_recompressed_copy_is_near(inspect, orientation):
    turned = np.ascontiguousarray(orientations(textured(1))[orientation])
    copy = encode(cv2.resize(turned, (100, 100), interpolation=cv2.INTER_AREA), "JPEG", quality=80)
    files = {"a": encode(textured(1), "PNG"), "b": encode(textured(2), "PNG"), "c": copy}
    assert triples(find(inspect(files))) == [("a", "c", "near duplicate")]


def test_a_pair_that_a_person_found_counts_as_near_and_one_that_is_not_there_is_passed_over():
    known = [["0003", "0001"], ["0002", "elsewhere"]]
    pairs = find(random_facts(5), known_pairs=known)
    assert triples(pairs) == [("0001", "0003", "near duplicate")]
    assert pairs["distance"][0] > SETTINGS["max_distance"]


def test_copies_are_confirmed_in_whatever_block_they_are_found(monkeypatch):
    """All hashes are equal, so that every pair is a candidate; the thumbnails of two pairs are."""
    table = random_facts(9)
    table = with_hashes(table, dict.fromkeys(range(9), table["phashes"][0]))
    table = with_thumbnails(table, copied=[(0, 8), (3, 4)])
    monkeypatch.setattr(hamming, "BLOCK", 2)
    assert triples(find(table)) == [("0000", "0008", "near duplicate"), ("0003", "0004", "near duplicate")]


def test_unlike_pictures_are_no_pair(inspect):
    assert find(inspect({str(seed): encode(textured(seed), "PNG") for seed in range(6)})).empty


def test_the_order_of_rows_does_not_change_the_pairs(inspect):
    copy = encode(textured(1), "JPEG")
    table = inspect({"b": encode(textured(1), "PNG"), "a": copy, "d": encode(textured(2), "PNG"), "c": copy})
    forwards = find(table)
    pd.testing.assert_frame_equal(find(table[::-1]), forwards)
    assert triples(forwards) == [("a", "b", "near duplicate"), ("a", "c", "same bytes")]


def test_images_that_do_not_decode_are_left_out(inspect):
    whole = encode(textured(1), "PNG")
    table = inspect({"a": whole, "b": whole, "c": whole[:200], "d": whole[:200]})
    assert triples(find(table)) == [("a", "b", "same bytes")]
    assert find(table[table["image_id"] > "b"]).empty


@pytest.mark.parametrize(("num_bits", "is_found"), [(0, True), (5, True), (6, True), (7, False), (64, False)])
def test_hashes_may_differ_in_the_given_number_of_bits(num_bits, is_found):
    table = random_facts(2)
    upright = table["phashes"][0][0]
    differing = (upright ^ (2**num_bits - 1)) & (2**64 - 1)
    signed = differing - 2**64 if differing >= 2**63 else differing
    table = with_hashes(table, {1: [*table["phashes"][1][:7], signed]})
    pairs = find(with_thumbnails(table, copied=[(0, 1)]))
    assert triples(pairs) == ([("0000", "0001", "near duplicate")] if is_found else [])
    assert pairs["distance"].tolist() == ([num_bits] if is_found else [])


def test_fine_structure_must_correlate_at_least_as_given():
    table = with_hashes(random_facts(2), {1: random_facts(2)["phashes"][0]})
    (reached,) = find(table, min_correlation=-1.0)["correlation"]
    assert triples(find(table, min_correlation=reached - 1e-3)) == [("0000", "0001", "near duplicate")]
    assert find(table, min_correlation=reached + 1e-3).empty


def test_missing_digests_are_not_equal_to_each_other():
    table = random_facts(3)
    for column in ("sha256", "pixels_sha256"):
        table[column] = pd.Series([None, None, None], dtype="string")
    assert find(table).empty
    copied = with_thumbnails(with_hashes(table, {2: table["phashes"][0]}), copied=[(0, 2)])
    assert triples(find(copied)) == [("0000", "0002", "near duplicate")]


def test_the_report_counts_reasons_and_names_datasets():
    table = random_facts(3).assign(dataset=["one", "one", "other"])
    table["sha256"] = ["x", "y", "x"]
    broken = table.iloc[[1]].assign(image_id="9999", decodes=False)
    report = duplicates.summarize(find(table), pd.concat([table, broken]))
    (pair,) = report.pop("pairs")
    assert report == {
        "num_images": 3,
        "num_pairs": 1,
        "num_pairs_by_reason": {"same bytes": 1, "same pixels": 0, "near duplicate": 0},
    }
    assert pair.pop("distance") > 6
    assert pair.pop("correlation") < 0.5
    assert pair == {"images": ["0000", "0002"], "datasets": ["one", "other"], "reason": "same bytes"}


# ---- the real images -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_pairs(real_facts, params):
    return duplicates.find_duplicates(real_facts, **params.duplicates.model_dump())


@pytest.mark.real_data
def test_twenty_two_pairs_of_the_real_images_are_copies_and_none_is_of_ph2(real_pairs):
    """Looked at by eye, one by one: all show one photograph twice, most in other colours."""
    assert triples(real_pairs) == sorted(
        [(*pair, "same bytes") for pair in SAME_BYTES_ON_ISIC]
        + [(*pair, "near duplicate") for pair in NEAR_ON_ISIC + FAR_ON_ISIC]
    )


@pytest.mark.real_data
def test_hashes_alone_would_call_many_unlike_lesions_copies(real_facts, params, real_pairs):
    def num_pairs(min_correlation: float) -> int:
        changed = params.duplicates.model_dump() | {"min_correlation": min_correlation}
        return len(duplicates.find_duplicates(real_facts, **changed))

    assert num_pairs(-1.0) > 600
    assert num_pairs(0.67) == num_pairs(0.75) == len(real_pairs)  # the threshold lies in a gap


COPIES: dict[str, Any] = {
    "recompressed": lambda pixels: (pixels, 30),
    "half": lambda pixels: (_scaled(pixels, 0.5), 90),
    "third": lambda pixels: (_scaled(pixels, 0.3), 90),
    "brightened": lambda pixels: (cv2.convertScaleAbs(pixels, alpha=1.05), 90),
    "small and bad": lambda pixels: (_scaled(pixels, 0.5), 40),
    **{
        f"orientation {number}": lambda pixels, number=number: (orientations(pixels)[number], 90)
        for number in range(1, 8)
    },
}


def _scaled(pixels: np.ndarray, factor: float) -> np.ndarray:
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


@pytest.mark.real_data
def test_every_copy_of_a_real_image_is_found_whatever_was_done_to_it(
    inspect, real_records, real_facts, tmp_path_factory
):
    rows = real_records[real_records["image_id"].isin(real_facts["image_id"])].iloc[50::300]
    files = {}
    for image_id, path in zip(rows["image_id"], rows["path"], strict=True):
        original = tmp_path_factory.getbasetemp() / path
        files[image_id] = original.read_bytes()
        pixels = cv2.imread(str(original))
        for kind, change in COPIES.items():
            changed, quality = change(pixels)
            _, encoded = cv2.imencode(
                ".jpg", np.ascontiguousarray(changed), [cv2.IMWRITE_JPEG_QUALITY, quality]
            )
            files[f"{image_id} {kind}"] = encoded.tobytes()
    pairs = find(inspect(files))
    of_originals = pairs[pairs["image_id"].isin(rows["image_id"])]
    wanted = [(name, f"{name} {kind}", "near duplicate") for name in rows["image_id"] for kind in COPIES]
    assert len(wanted) == 9 * len(COPIES)
    assert triples(of_originals) == sorted(wanted)
