from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma.data.groups.relations import group_ids, relate, require_equal_labels
from melanoma.errors import DataError
from melanoma.schema import PAIR_COLUMNS
from tests.data.toys import record, records_of

NOTHING_BEFORE = pd.DataFrame({"image_id": [], "group_id": []}, dtype="string")


def pairs_of(*pairs: tuple[str, str], reason: str = "same pixels") -> pd.DataFrame:
    return pd.DataFrame([(*pair, reason) for pair in pairs], columns=list(PAIR_COLUMNS), dtype="string")


def triples(pairs: pd.DataFrame) -> list[tuple[str, str, str]]:
    return list(pairs.itertuples(index=False, name=None))


def single(image_id: str, **changes: object) -> dict[str, object]:
    """An image that only `changes` relate to others."""
    return record(image_id, lesion_id=None, patient_id=None) | changes


def known(*rows: dict[str, Any]) -> pd.DataFrame:
    """Images with bytes of their own, where `rows` say nothing else."""
    digest_of = {row["image_id"]: row.get("sha256", f"bytes-{row['image_id']}") for row in rows}
    records = records_of(*rows)
    return records.assign(sha256=records["image_id"].map(digest_of).astype("string"))


# ---- relations -------------------------------------------------------------------------------


def test_lesions_and_patients_relate_images_and_blanks_do_not():
    records = known(
        single("a", lesion_id="l"),
        single("b", lesion_id="l", patient_id="p"),
        single("c", patient_id="p"),
        single("d"),
        single("e"),
    )
    assert triples(relate(records, pairs_of(("d", "e")), NOTHING_BEFORE)) == [
        ("a", "b", "same lesion"),
        ("b", "c", "same patient"),
        ("d", "e", "same pixels"),
    ]


def test_a_pair_may_have_several_reasons():
    records = known(single("a", lesion_id="l"), single("b", lesion_id="l"))
    relations = relate(records, pairs_of(("a", "b")), NOTHING_BEFORE)
    assert triples(relations) == [("a", "b", "same lesion"), ("a", "b", "same pixels")]


def test_equal_bytes_relate_images_that_no_search_has_seen_together():
    images = known(single("a", sha256="same"), single("b", sha256="same"), single("c"))
    assert triples(relate(images, pairs_of(), NOTHING_BEFORE)) == [("a", "b", "same bytes")]


def test_ids_of_lesions_and_patients_count_within_their_dataset():
    same = {"lesion_id": "l", "patient_id": "p"}
    records = known(record("a", dataset="one", **same), record("b", dataset="other", **same))
    assert relate(records, pairs_of(), NOTHING_BEFORE).empty


def test_groups_that_cannot_be_seen_wholly_stay_together():
    earlier = pd.DataFrame({"image_id": ["b", "gone", "c"], "group_id": ["b", "b", "c"]})
    relations = relate(known(single("b"), single("c")), pairs_of(), earlier)
    assert triples(relations) == [("b", "gone", "same group before")]


# ---- groups ----------------------------------------------------------------------------------


def test_a_group_is_all_that_relations_connect_and_is_named_after_its_first_image():
    relations = pairs_of(("b", "d"), ("c", "d"), ("a", "e"))
    names = group_ids(["d", "c", "b", "a", "e"], relations)
    assert names == {"a": "a", "b": "b", "c": "b", "d": "b", "e": "a"}


def test_an_image_that_is_not_asked_for_connects_but_names_no_group():
    assert group_ids(["c", "b"], pairs_of(("a", "b"), ("a", "c"))) == {"b": "b", "c": "b"}


def test_without_relations_every_image_is_its_own_group():
    assert group_ids(["b", "a"], pairs_of()) == {"a": "a", "b": "b"}
    assert group_ids([], pairs_of()) == {}


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
    expected = {name: min(group) for name, group in connected(names, pairs).items()}
    assert group_ids(names, pairs_of(*pairs)) == expected
    assert group_ids(shuffled_names, pairs_of(*shuffled_pairs)) == expected


# ---- labels of copies ------------------------------------------------------------------------


def test_copies_with_different_labels_are_refused_and_both_files_named():
    records = records_of(record("a", target=0), record("b", target=1), record("c", target=1))
    require_equal_labels(records, pairs_of(("b", "c")))
    with pytest.raises(DataError, match="2 pairs of copies have different labels") as caught:
        require_equal_labels(records, pairs_of(("a", "b"), ("a", "c"), ("b", "c")))
    assert "images/a.png (0) and images/b.png (1): same pixels" in str(caught.value)
    assert "images/a.png (0) and images/c.png (1): same pixels" in str(caught.value)
    assert "params.yaml: validate.excluded_ids" in str(caught.value)


def test_no_copies_have_no_different_labels():
    require_equal_labels(records_of(record("a"), record("b", target=1)), pairs_of())


def test_a_copy_that_is_not_accepted_has_no_label_to_differ():
    records = records_of(record("b", target=1), record("c", target=1))
    require_equal_labels(records, pairs_of(("a", "b"), ("b", "z")))


def test_two_accepted_images_are_compared_through_an_identical_one_that_is_not():
    """`a` was quarantined; `b` and `c` have its pixels, `d` looks like it."""
    copies = pd.concat([pairs_of(("a", "b"), ("a", "c")), pairs_of(("a", "d"), reason="near duplicate")])
    alike = [record(name, target=1) for name in "bcd"]
    require_equal_labels(records_of(*alike), copies)
    for number, named in ((1, "images/c.png"), (2, "images/d.png")):
        rows = [*alike]
        rows[number] = rows[number] | {"target": 0}
        with pytest.raises(DataError, match=rf"1 pairs .*images/b\.png \(1\) and {named} \(0\)"):
            require_equal_labels(records_of(*rows), copies)


def test_near_duplicates_of_one_image_that_is_not_accepted_are_not_compared():
    """Looking like one and the same picture is not passed on as being identical is."""
    copies = pairs_of(("a", "b"), ("a", "c"), reason="near duplicate")
    require_equal_labels(records_of(record("b", target=0), record("c", target=1)), copies)


def test_the_first_five_differing_pairs_are_named():
    records = records_of(record("z", target=1), *(record(f"b{number}") for number in range(7)))
    pairs = pairs_of(*((f"b{number}", "z") for number in range(7)))
    with pytest.raises(DataError, match=r"images/b4\.png .* and 2 more\. Put the id of one image"):
        require_equal_labels(records, pairs)


@pytest.mark.real_data
def test_copies_among_the_real_images_have_equal_labels(real_facts, real_records, params):
    from melanoma.data.groups import duplicates

    labelled = real_records[real_records["target"].notna()]
    require_equal_labels(labelled, duplicates.find_duplicates(real_facts, **params.duplicates.model_dump()))
