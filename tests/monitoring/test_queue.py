"""The queue lists all of the audit, then the other reasons in turn, each group once."""

import base64

import numpy as np
import pandas as pd
import pytest

from melanoma.monitoring import queue, records
from melanoma.monitoring.queue import AUDIT, COLUMNS, DISAGREEMENT, REFER_BAND, UNLIKE
from tests.monitoring.test_audit_draws import answer, draw


def refer(prediction_id, group, probability, **changes):
    return answer(prediction_id, group, probability=probability, decision="refer", **changes)


def far(prediction_id, group, distance, **changes):
    return answer(prediction_id, group, facts={"distance": distance}, **changes)


def rank(answers, drawn=None, *, size=10, **options):
    draws = draw(answers, audit_fraction=1.0, audit_fraction_near=1.0)
    draws["is_drawn"] = draws["group"].isin(drawn or [])
    return queue.rank(records.table(answers), draws, size=size, **options)


def listed(ranked):
    return list(zip(ranked["prediction_id"], ranked["why"], strict=True))


def test_the_reasons_take_turns_and_the_best_of_each_comes_first():
    answers = [
        refer("r1", "g1", 0.40),
        refer("r2", "g2", 0.55),
        refer("r3", "g3", 0.48),
        far("u1", "g4", 3.0),
        far("u2", "g5", 9.0),
    ]
    assert listed(rank(answers)) == [
        *[("r3", REFER_BAND), ("u2", UNLIKE), ("r2", REFER_BAND), ("u1", UNLIKE), ("r1", REFER_BAND)]
    ]
    assert listed(rank(answers, size=3)) == [("r3", REFER_BAND), ("u2", UNLIKE), ("r2", REFER_BAND)]


def test_a_queue_has_its_columns_and_ranks_from_one():
    ranked = rank([answer("a"), refer("r", "g2", 0.5)], ["g1"])
    assert list(ranked) == list(COLUMNS)
    assert ranked["rank"].tolist() == [1, 2]
    assert ranked["probability_drawn"].isna().tolist() == [False, True]


def test_size_never_cuts_off_the_audit():
    answers = [answer(f"a{number}", f"g{number}") for number in range(9)] + [refer("r", "other", 0.5)]
    drawn = [f"g{number}" for number in range(7)]
    assert rank(answers, drawn, size=0)["why"].tolist() == 7 * [AUDIT]
    assert rank(answers, drawn, size=1)["why"].tolist() == [*(7 * [AUDIT]), REFER_BAND]


def test_the_audit_lists_all_images_of_the_first_day_of_a_group_and_no_later_one():
    answers = [answer("a", day=2), answer("b", day=1), answer("c", day=1, hour=13), answer("d", "g2", day=1)]
    assert listed(rank(answers, ["g1", "g2"])) == [("b", AUDIT), ("d", AUDIT), ("c", AUDIT)]


def test_the_audit_is_listed_whatever_period_the_others_come_from():
    answers = [answer("a"), refer("old", "g2", 0.5, day=1), refer("new", "g3", 0.5, day=9)]
    rows = records.table(answers)
    ranked = rank(answers, ["g1"], candidates=rows[rows["time"] >= pd.Timestamp("2026-05-05", tz="UTC")])
    assert listed(ranked) == [("a", AUDIT), ("new", REFER_BAND)]


def test_a_group_is_listed_for_one_reason_and_with_one_image_outside_the_audit():
    answers = [
        refer("r1", "g1", 0.5, facts={"distance": 9.0}),
        far("same group", "g1", 8.0),
        far("u", "g2", 1.0),
        answer("a", "g3"),
        refer("later of a drawn group", "g3", 0.5, day=2),
    ]
    assert listed(rank(answers, ["g3"])) == [("a", AUDIT), ("r1", REFER_BAND), ("u", UNLIKE)]


def test_an_image_that_was_posted_twice_is_listed_once():
    same = {"image_sha256": "same bytes"}
    assert len(rank([answer("a", **same), answer("b", **same)], ["g1"])) == 1
    assert len(rank([refer("a", None, 0.5, **same), refer("b", None, 0.5, **same)])) == 1
    assert len(rank([refer("a", "g1", 0.5, **same), refer("b", "g2", 0.5, **same)])) == 1
    assert len(rank([refer("a", "g1", 0.5), refer("b", "g2", 0.5)])) == 2


def test_labelled_images_are_left_out_of_every_part():
    answers = [answer("a"), answer("b"), refer("r", "g2", 0.5), refer("again", "g2", 0.4)]
    labelled = ["bytes of a", "bytes of r"]
    assert listed(rank(answers, ["g1"], labelled=labelled)) == [("b", AUDIT), ("again", REFER_BAND)]


def test_refused_rows_and_images_that_are_referred_for_their_quality_are_not_in_the_band():
    answers = [
        refer("blurred", "g1", 0.5, reason="sharpness"),
        refer("refused", "g2", 0.5, refusal="truncated"),
        refer("r", "g3", 0.5),
    ]
    assert listed(rank(answers)) == [("r", REFER_BAND)]


def test_disagreement_needs_scores_of_a_shadow():
    answers = [answer("a", "g1"), answer("b", "g2"), answer("c", "g3")]
    assert rank(answers).empty
    rows = records.table(answers).assign(shadow_probability=[0.2, 0.9, 0.1])  # the model said 0.1
    ranked = queue.rank(rows, draw([]), size=10)
    assert listed(ranked) == [("b", DISAGREEMENT), ("a", DISAGREEMENT)]


def test_nothing_to_label_is_an_empty_queue_with_all_columns():
    ranked = rank([])
    assert (len(ranked), list(ranked)) == (0, list(COLUMNS))


# ---- nearest neighbours ----------------------------------------------------------------------


def embedded(prediction_id, group, *features, **changes):
    packed = base64.b64encode(np.array(features, "<f2").tobytes()).decode()
    return answer(prediction_id, group, embedding=packed, **changes)


def test_the_distance_is_the_mean_of_the_nearest_neighbours_of_unit_length():
    reference = records.table([embedded("x", "g", 2, 0), embedded("y", "g", 0, 3)])
    rows = records.table([embedded("on x", "g1", 9, 0), embedded("opposite", "g2", -1, 0)])
    root = 2**0.5
    expected = [(0 + root) / 2, (2 + root) / 2]
    assert queue.neighbour_distance(rows, reference).tolist() == pytest.approx(expected)


def test_only_the_nearest_neighbours_count():
    near = [embedded(f"x{number}", "g", 1, 0) for number in range(queue.NUM_NEIGHBOURS)]
    reference = records.table([*near, embedded("far", "g", -1, 0)])
    rows = records.table([embedded("a", "g1", 1, 0)])
    assert queue.neighbour_distance(rows, reference).tolist() == [0]


def test_embeddings_of_another_network_and_missing_ones_are_not_compared():
    rows = records.table([embedded("a", "g1", 1, 0), answer("none", "g2")])
    other = records.table([embedded("x", "g", 1, 0, network_sha256="other"), answer("y", "g")])
    assert queue.neighbour_distance(rows, other).isna().all()


def test_a_reference_replaces_the_distance_from_the_training_images():
    answers = [
        embedded("like", "g1", 1, 0, facts={"distance": 9.0}),
        embedded("unlike", "g2", 0, 1, facts={"distance": 1.0}),
    ]
    assert [one for one, _ in listed(rank(answers))] == ["like", "unlike"]
    reference = records.table([embedded("x", "g", 1, 0)])
    assert [one for one, _ in listed(rank(answers, reference=reference))] == ["unlike", "like"]
