from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma.data import duplicates, facts
from melanoma.data.facts import THUMBNAIL_SIDE
from melanoma.errors import DataError
from tests.data.pictures import encode, textured
from tests.data.toys import record, records_of

LIMITS: dict[str, Any] = {"max_distance": 6, "min_correlation": 0.9}

SAME_BYTES_ON_ISIC = [
    ("ISIC_0000279", "ISIC_0000280"),
    ("ISIC_0000477", "ISIC_0000512"),
    ("ISIC_0012127", "ISIC_0012970"),
]
NEAR_ON_ISIC = [
    ("ISIC_0000164", "ISIC_0014795"),
    ("ISIC_0000165", "ISIC_0014788"),
    ("ISIC_0000171", "ISIC_0015124"),
    ("ISIC_0000173", "ISIC_0015110"),
    ("ISIC_0000222", "ISIC_0014846"),
    ("ISIC_0012290", "ISIC_0013594"),
    ("ISIC_0012672", "ISIC_0012673"),
    ("ISIC_0012756", "ISIC_0013184"),
]


def facts_of_files(folder, files: dict[str, bytes]) -> pd.DataFrame:
    for name, encoded in files.items():
        (folder / name).write_bytes(encoded)
    records = pd.DataFrame({"image_id": list(files), "path": list(files)})
    return facts.inspect_images(records, root=folder, working_size=128, num_workers=1, description="test")


def triples(pairs: pd.DataFrame) -> list[tuple[str, str, str]]:
    return sorted(pairs[["image_id", "other_image_id", "reason"]].itertuples(index=False, name=None))


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
            "sha256": [f"bytes-{row}" for row in range(num_images)],
            "pixels_sha256": [f"pixels-{row}" for row in range(num_images)],
            "phashes": hashes.tolist(),
            "thumbnail": [thumbnail.tobytes() for thumbnail in thumbnails],
        }
    )


# ---- pairs of copies -------------------------------------------------------------------------


def test_a_pair_has_the_strongest_of_its_reasons_once(tmp_path):
    bytes_of_a = encode(textured(1), "PNG")
    table = facts_of_files(
        tmp_path,
        {"a": bytes_of_a, "b": bytes_of_a, "c": encode(textured(1), "BMP"), "d": encode(textured(2), "PNG")},
    )
    pairs = duplicates.find_duplicates(table, **LIMITS)
    assert triples(pairs) == [
        ("a", "b", "same bytes"),
        ("a", "c", "same pixels"),
        ("b", "c", "near duplicate"),
    ]


@pytest.mark.parametrize("orientation", range(8))
def test_a_turned_resized_and_recompressed_copy_is_near(tmp_path, orientation):
    turned = np.ascontiguousarray(facts_orientation(textured(1), orientation))
    copy = encode(cv2.resize(turned, (100, 100), interpolation=cv2.INTER_AREA), "JPEG", quality=80)
    files = {"a": encode(textured(1), "PNG"), "b": encode(textured(2), "PNG"), "c": copy}
    pairs = duplicates.find_duplicates(facts_of_files(tmp_path, files), **LIMITS)
    assert triples(pairs) == [("a", "c", "near duplicate")]


def facts_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    turned = np.rot90(pixels, orientation % 4)
    return turned if orientation < 4 else np.fliplr(turned)


def test_unlike_pictures_are_no_pair(tmp_path):
    files = {str(seed): encode(textured(seed), "PNG") for seed in range(6)}
    assert duplicates.find_duplicates(facts_of_files(tmp_path, files), **LIMITS).empty


def test_the_order_of_rows_does_not_change_the_pairs(tmp_path):
    copy = encode(textured(1), "JPEG")
    files = {"b": encode(textured(1), "PNG"), "a": copy, "d": encode(textured(2), "PNG"), "c": copy}
    table = facts_of_files(tmp_path, files)
    forwards = duplicates.find_duplicates(table, **LIMITS)
    backwards = duplicates.find_duplicates(table[::-1].reset_index(drop=True), **LIMITS)
    assert triples(forwards) == triples(backwards) != []


@pytest.mark.parametrize(("num_bits", "is_found"), [(0, True), (5, True), (6, True), (7, False), (64, False)])
def test_hashes_may_differ_in_the_given_number_of_bits(num_bits, is_found):
    table = random_facts(2)
    upright = table["phashes"][0][0]
    differing = (upright ^ (2**num_bits - 1)) & (2**64 - 1)
    signed = differing - 2**64 if differing >= 2**63 else differing
    table = with_hashes(table, {1: [*table["phashes"][1][:7], signed]})
    table = with_thumbnails(table, copied=[(0, 1)])
    pairs = duplicates.find_duplicates(table, max_distance=6, min_correlation=0.9)
    assert triples(pairs) == ([("0000", "0001", "near duplicate")] if is_found else [])


def test_fine_structure_must_correlate_at_least_as_given():
    table = random_facts(2)
    table = with_hashes(table, {1: table["phashes"][0]})
    first, second = (
        np.frombuffer(table["thumbnail"][row], np.uint8).reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        for row in range(2)
    )
    reached = duplicates.fine_correlation(first, second)
    found = duplicates.find_duplicates(table, max_distance=6, min_correlation=reached)
    missed = duplicates.find_duplicates(table, max_distance=6, min_correlation=np.nextafter(reached, 1))
    assert triples(found) == [("0000", "0001", "near duplicate")]
    assert missed.empty


def test_pairs_are_found_within_and_across_blocks_of_rows():
    table = random_facts(2 * duplicates.BLOCK + 10)
    last = len(table) - 1
    wanted = [(0, 1), (3, last), (511, 512), (600, 1030)]
    table = with_hashes(table, {other: table["phashes"][row] for row, other in wanted})
    table = with_thumbnails(table, copied=wanted)
    pairs = duplicates.find_duplicates(table, **LIMITS)
    assert triples(pairs) == [(f"{row:04}", f"{other:04}", "near duplicate") for row, other in wanted]


def test_missing_digests_are_not_equal_to_each_other():
    table = random_facts(3)
    table["sha256"] = pd.Series([None, None, None], dtype="string")
    assert duplicates.find_duplicates(table, **LIMITS).empty


# ---- correlation of fine structure -----------------------------------------------------------


def small_grey(seed: int) -> np.ndarray:
    return cv2.cvtColor(textured(seed, side=THUMBNAIL_SIDE), cv2.COLOR_RGB2GRAY)


@pytest.mark.parametrize("orientation", range(8))
def test_a_picture_correlates_wholly_with_itself_however_turned(orientation):
    turned = facts.orientations(small_grey(1))[orientation]
    assert duplicates.fine_correlation(small_grey(1), turned) == pytest.approx(1, abs=1e-5)


def test_correlation_is_symmetric_and_unchanged_by_brightness():
    one, other = small_grey(1), small_grey(2)
    value = duplicates.fine_correlation(one, other)
    assert duplicates.fine_correlation(other, one) == pytest.approx(value, abs=1e-4)
    assert duplicates.fine_correlation(one // 2 + 60, other) == pytest.approx(value, abs=0.02)


def test_two_dark_blobs_with_texture_of_their_own_hardly_correlate():
    y, x = np.mgrid[:THUMBNAIL_SIDE, :THUMBNAIL_SIDE] - THUMBNAIL_SIDE / 2
    blob = 180 - 120 * np.exp(-(x**2 + y**2) / 200)
    noises = np.random.default_rng(0).normal(0, 8, size=(2, *blob.shape))
    one, other = ((blob + noise).clip(0, 255).astype(np.uint8) for noise in noises)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.8
    assert duplicates.fine_correlation(one, other) < 0.5


def test_a_flat_picture_correlates_with_nothing():
    flat = np.full((THUMBNAIL_SIDE, THUMBNAIL_SIDE), 90, np.uint8)
    assert duplicates.fine_correlation(flat, flat) == pytest.approx(0, abs=1e-3)


# ---- labels of copies ------------------------------------------------------------------------


def pairs_of(*pairs: tuple[str, str], reason: str = "same pixels") -> pd.DataFrame:
    return pd.DataFrame([(*pair, reason) for pair in pairs], columns=["image_id", "other_image_id", "reason"])


def test_copies_with_unlike_labels_are_refused_and_both_files_named():
    records = records_of(record("a", target=0), record("b", target=1), record("c", target=1))
    duplicates.require_like_labels(pairs_of(("b", "c")), records)
    with pytest.raises(DataError, match="2 pairs of copies have unlike labels") as caught:
        duplicates.require_like_labels(pairs_of(("a", "b"), ("a", "c"), ("b", "c")), records)
    assert "images/a.png (0) and images/b.png (1): same pixels" in str(caught.value)
    assert "images/a.png (0) and images/c.png (1): same pixels" in str(caught.value)


def test_no_copies_have_no_unlike_labels():
    duplicates.require_like_labels(pairs_of(), records_of(record("a"), record("b", target=1)))


def test_the_first_five_unlike_pairs_are_named():
    records = records_of(record("z", target=1), *(record(f"b{number}") for number in range(7)))
    pairs = pairs_of(*((f"b{number}", "z") for number in range(7)))
    with pytest.raises(DataError, match=r"images/b4\.png .* and 2 more\. Remove one of each pair"):
        duplicates.require_like_labels(pairs, records)


# ---- relations and groups --------------------------------------------------------------------


def test_lesions_and_patients_relate_images_and_blanks_do_not():
    records = records_of(
        record("a", lesion_id="l", patient_id=None),
        record("b", lesion_id="l", patient_id="p"),
        record("c", lesion_id=None, patient_id="p"),
        record("d", lesion_id=None, patient_id=None),
        record("e", lesion_id=None, patient_id=None),
    )
    relations = duplicates.relate(records, pairs_of(("d", "e")))
    assert triples(relations) == [
        ("a", "b", "same lesion"),
        ("b", "c", "same patient"),
        ("d", "e", "same pixels"),
    ]


def test_ids_of_lesions_and_patients_count_within_their_dataset():
    same = {"lesion_id": "l", "patient_id": "p"}
    records = records_of(record("a", dataset="one", **same), record("b", dataset="other", **same))
    assert duplicates.relate(records, pairs_of()).empty


def test_a_group_is_all_that_relations_connect_and_is_named_after_its_first_image():
    groups = duplicates.group_ids(
        pd.Series(["d", "c", "b", "a", "e"]), pairs_of(("b", "d"), ("c", "d"), ("a", "e"))
    )
    assert groups.tolist() == ["b", "b", "b", "a", "a"]


def test_without_relations_every_image_is_its_own_group():
    assert duplicates.group_ids(pd.Series(["b", "a"]), pairs_of()).tolist() == ["b", "a"]


@st.composite
def images_and_relations(draw):
    names = [f"i{number:02}" for number in range(draw(st.integers(1, 12)))]
    one_of = st.sampled_from(names)
    pairs = draw(st.lists(st.tuples(one_of, one_of), max_size=12))
    return names, pairs, draw(st.permutations(names)), draw(st.permutations(pairs))


def connected(names: list[str], pairs: list[tuple[str, str]]) -> dict[str, set[str]]:
    """The slow way to groups: join the sets of each pair."""
    group_of = {name: {name} for name in names}
    for one, other in pairs:
        joined = group_of[one] | group_of[other]
        for name in joined:
            group_of[name] = joined
    return group_of


@settings(deadline=None, max_examples=80)
@given(images_and_relations())
def test_groups_are_the_connected_parts_whatever_the_order(drawn):
    names, pairs, shuffled_names, shuffled_pairs = drawn
    groups = duplicates.group_ids(pd.Series(names), pairs_of(*pairs))
    expected = {name: min(group) for name, group in connected(names, pairs).items()}
    assert dict(zip(names, groups, strict=True)) == expected

    shuffled = duplicates.group_ids(pd.Series(shuffled_names), pairs_of(*shuffled_pairs))
    assert dict(zip(shuffled_names, shuffled, strict=True)) == expected


# ---- the real images -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_pairs(real_facts, params):
    return duplicates.find_duplicates(
        real_facts,
        max_distance=params.split.near_duplicate_max_distance,
        min_correlation=params.split.near_duplicate_min_correlation,
    )


@pytest.mark.real_data
def test_eleven_pairs_of_the_real_images_are_copies_and_none_is_of_ph2(real_pairs):
    assert triples(real_pairs) == sorted(
        [(*pair, "same bytes") for pair in SAME_BYTES_ON_ISIC]
        + [(*pair, "near duplicate") for pair in NEAR_ON_ISIC]
    )


@pytest.mark.real_data
def test_copies_among_the_real_images_have_like_labels(real_pairs, real_records):
    duplicates.require_like_labels(real_pairs, real_records)


@pytest.mark.real_data
def test_hashes_alone_would_call_many_unlike_lesions_copies(real_facts, params):
    pairs = duplicates.find_duplicates(
        real_facts, max_distance=params.split.near_duplicate_max_distance, min_correlation=-1.0
    )
    assert len(pairs) > 400
