"""Groups are drawn with the declared probability, once, whatever comes later."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from melanoma.errors import DataError
from melanoma.monitoring import audit_draws, records, sensitivity
from melanoma.monitoring.audit_draws import COLUMNS, DRAWS

KEY = b"k" * 32
PLAN = {"audit_fraction": 0.1, "audit_fraction_near": 0.6, "near_factor": 0.5}
NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)
FAR, NEAR, CAUGHT = 0.1, 0.3, 0.7  # probabilities; the threshold is 0.5
NOBODY = pd.DataFrame(columns=list(COLUMNS))


def answer(prediction_id, group="g1", day=1, probability=FAR, hour=12, **changes):
    """A record of an answer on a day of May."""
    return {
        "prediction_id": prediction_id,
        "time": f"2026-05-{day:02}T{hour:02}:00:00+00:00",
        "image_id": f"image {prediction_id}",
        "group_key": group,
        "image_sha256": f"bytes of {prediction_id}",
        "model_name": "melanoma-sample",
        "model_version": "3",
        "network_sha256": "n",
        "probability": probability,
        "threshold": 0.5,
        "decision": "positive" if probability >= 0.5 else "negative",
    } | changes


def draw(answers, known=NOBODY, *, now=NOW, **changes):
    return audit_draws.draw(records.table(answers), known, key=KEY, now=now, **(PLAN | changes))


def chances(draws):
    return draws.set_index("prediction_id")["probability_drawn"].to_dict()


@pytest.mark.parametrize(
    ("probability", "chance"), [(0.24, 0.1), (0.25, 0.6), (0.49, 0.6), (0.5, 0.1), (0.9, 0.1)]
)
def test_a_group_just_below_the_threshold_is_drawn_more_often(probability, chance):
    assert chances(draw([answer("a", probability=probability)])) == {"a": chance}


def test_one_answer_just_below_the_threshold_decides_for_its_group_and_no_other():
    answers = [answer("a", probability=CAUGHT), answer("b", probability=NEAR), answer("c", "g2")]
    assert chances(draw(answers)) == {"a": 0.6, "b": 0.6, "c": 0.1}


def test_only_answers_of_the_first_day_count():
    answers = [answer("late", day=2, probability=NEAR), answer("a", hour=23), answer("b", hour=0)]
    drawn = draw(answers)
    assert chances(drawn) == {"a": 0.1, "b": 0.1}
    assert drawn["time"].unique().tolist() == [pd.Timestamp("2026-05-01", tz="UTC")]


def test_a_group_is_drawn_six_hours_after_its_first_day():
    answers = [answer("a", day=1, hour=0)]
    assert draw(answers, now=datetime(2026, 5, 2, 5, 59, tzinfo=UTC)).empty
    assert len(draw(answers, now=datetime(2026, 5, 2, 6, tzinfo=UTC))) == 1


def test_refused_rows_are_no_answers():
    refused = answer("refused", probability=NEAR, refusal="truncated")
    drawn = draw([refused, answer("a", day=2)])
    assert drawn["prediction_id"].tolist() == ["a"]
    assert draw([refused]).empty


def test_an_image_without_a_group_is_a_group_of_its_own():
    answers = [answer("a", None), answer("b", None), answer("again", None, image_sha256="bytes of a")]
    assert sorted(draw(answers)["group"]) == ["bytes of a", "bytes of a", "bytes of b"]


def test_each_model_has_its_own_draw_of_a_group_with_the_same_number():
    answers = [answer("a", probability=NEAR), answer("b", day=3, model_name="melanoma-other")]
    drawn = draw(answers).set_index("prediction_id")
    assert drawn["probability_drawn"].to_dict() == {"a": 0.6, "b": 0.1}
    number = audit_draws.number_of("g1", KEY)
    assert drawn["is_drawn"].to_dict() == {"a": number < 0.6, "b": number < 0.1}


def test_answers_of_a_model_without_a_registry_are_drawn():
    assert draw([answer("a", model_name=None)])["model_name"].tolist() == [""]


# ---- probabilities ---------------------------------------------------------------------------


def is_drawn(num, chance, key=KEY):
    return np.array([audit_draws.number_of(f"group {number}", key) < chance for number in range(num)])


@pytest.mark.parametrize("chance", [0.05, 0.5, 0.9])
def test_the_share_of_drawn_groups_is_the_declared_one(chance):
    num = 20_000
    assert abs(is_drawn(num, chance).mean() - chance) < 4 * (chance * (1 - chance) / num) ** 0.5


def test_all_are_drawn_with_probability_1():
    assert draw([answer("a")], audit_fraction=1.0)["is_drawn"].all()
    assert is_drawn(1000, 1.0).all()


def test_neighbouring_groups_and_other_keys_are_independent():
    num = 20_000
    drawn, other = is_drawn(num, 0.5), is_drawn(num, 0.5, b"other key")
    tolerance = 4 / num**0.5  # of a correlation
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < tolerance
    assert abs(np.corrcoef(drawn, other)[0, 1]) < tolerance


def test_a_group_that_is_drawn_stays_drawn_with_a_higher_probability():
    assert (is_drawn(1000, 0.5) >= is_drawn(1000, 0.1)).all()


# ---- draws do not change ---------------------------------------------------------------------


def test_draws_do_not_depend_on_the_order_of_records_or_on_other_groups():
    answers = [answer(f"p{number}", f"g{number % 30}", day=1 + number % 4) for number in range(90)]
    drawn = draw(answers)
    pd.testing.assert_frame_equal(draw(answers[::-1]), drawn)
    of_one = draw([one for one in answers if one["group_key"] == "g7"])
    expected = drawn[drawn["group"] == "g7"].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_one, expected)


def test_a_group_keeps_its_draw_whatever_comes_later(tmp_path):
    first = draw([answer("a"), answer("b", "g2")])
    audit_draws.write(first, tmp_path, NOW)
    known = audit_draws.read(tmp_path)
    pd.testing.assert_frame_equal(known, first, check_dtype=False)
    assert known["time"].dtype == first["time"].dtype
    late = [answer("a"), answer("b", "g2"), answer("late", probability=NEAR), answer("c", "g3", day=9)]
    new = draw(late, known, audit_fraction=0.9)
    assert chances(new) == {"c": 0.9}
    audit_draws.write(new, tmp_path, NOW)
    assert chances(audit_draws.read(tmp_path)) == {"a": 0.1, "b": 0.1, "c": 0.9}


def test_of_two_draws_of_a_group_the_first_counts(tmp_path):
    audit_draws.write(draw([answer("a"), answer("b")]), tmp_path, NOW)
    audit_draws.write(draw([answer("b"), answer("c", "g2")], audit_fraction=0.9), tmp_path, datetime.now(UTC))
    assert chances(audit_draws.read(tmp_path)) == {"a": 0.1, "b": 0.1, "c": 0.9}


def test_no_draws_are_an_empty_frame_with_all_columns(tmp_path):
    found = audit_draws.read(tmp_path)
    assert found.empty
    assert list(found) == list(COLUMNS)


def test_a_file_that_holds_no_draws_is_named(tmp_path):
    path = tmp_path / DRAWS / "other.parquet"
    path.parent.mkdir()
    pd.DataFrame({"group": ["g"]}).to_parquet(path)
    with pytest.raises(DataError, match=r"other\.parquet holds no draws of an audit: it has no columns"):
        audit_draws.read(tmp_path)


# ---- erasure and expiry ----------------------------------------------------------------------


def test_an_erased_group_loses_its_draw_and_may_come_back(tmp_path):
    path = audit_draws.write(draw([answer("a"), answer("b", "g2")]), tmp_path, NOW)
    records.erase(tmp_path, group_key="g1", now=NOW)
    assert chances(audit_draws.read(tmp_path)) == {"b": 0.1}
    audit_draws.erase(tmp_path)
    assert pd.read_parquet(path)["group"].tolist() == ["g2"]
    again = [answer("again", time="2026-07-01T00:00:00+00:00")]
    new = draw(again, audit_draws.read(tmp_path), now=datetime(2026, 8, 1, tzinfo=UTC))
    audit_draws.write(new, tmp_path, datetime(2026, 8, 1, tzinfo=UTC))
    assert chances(audit_draws.read(tmp_path)) == {"b": 0.1, "again": 0.1}


def test_a_draw_expires_when_its_group_has_no_answer_left(tmp_path):
    path = audit_draws.write(draw([answer("a"), answer("b", "g2"), answer("c", "g3", 9)]), tmp_path, NOW)
    left = records.table([answer("of g2", "g2", day=20), answer("c", "g3", 9)])
    audit_draws.expire(tmp_path, date(2026, 5, 2), left)
    assert chances(audit_draws.read(tmp_path)) == {"b": 0.1, "c": 0.1}
    audit_draws.expire(tmp_path, date(2026, 6, 1), records.table([]))
    assert not path.exists()


# ---- what the estimator takes ----------------------------------------------------------------


def labels(**values):
    return pd.DataFrame({"prediction_id": list(values), "label": list(values.values())})


def test_answers_of_the_first_day_have_their_draw_and_label():
    answers = [
        answer("a", probability=CAUGHT),
        answer("b", probability=NEAR),
        answer("late", day=3, probability=CAUGHT),
        answer("c", "g2"),
        answer("other", "g3", model_name="melanoma-other"),
    ]
    drawn = draw(answers, audit_fraction=1.0, audit_fraction_near=1.0)
    found = audit_draws.sensitivity_answers(
        records.table([*answers, answer("today", "g4", day=30)]),
        drawn,
        labels(a=1.0, b=1.0, late=0.0),
        model_name="melanoma-sample",
    )
    assert set(found) == set(sensitivity.COLUMNS)
    rows = found.set_index("prediction_id")
    assert rows["is_caught"].to_dict() == {"a": True, "b": False, "c": False}
    assert rows["label"].fillna(-1).to_dict() == {"a": 1, "b": 1, "c": -1}
    measured = sensitivity.measure(found, minimum=0.8, pi_min=0.1, alpha=0.05)
    assert (measured.estimate, measured.num_drawn, measured.num_missing) == (0.5, 2, 1)


def test_without_draws_there_is_nothing_to_measure():
    found = audit_draws.sensitivity_answers(
        records.table([answer("a")]), draw([]), labels(), model_name="melanoma-sample"
    )
    assert sensitivity.measure(found, minimum=0.8, pi_min=0.1, alpha=0.05).num_drawn == 0


@pytest.mark.parametrize("true_sensitivity", [0.6, 0.9])
def test_the_estimate_is_right_although_misses_are_drawn_more_often(true_sensitivity):
    num = 4000
    generator = np.random.default_rng(0)
    is_caught = generator.random(num) < true_sensitivity
    answers = [
        answer(f"p{number}", f"g{number}", probability=CAUGHT if caught else NEAR)
        for number, caught in enumerate(is_caught)
    ]
    found = audit_draws.sensitivity_answers(
        records.table(answers),
        draw(answers),
        labels(**{f"p{number}": 1.0 for number in range(num)}),
        model_name="melanoma-sample",
    )
    measured = sensitivity.measure(found, minimum=0.5, pi_min=0.1, alpha=0.05)
    assert abs(measured.estimate - is_caught.mean()) < 0.06
    assert measured.low < is_caught.mean() < measured.high
    plain = found[found["is_drawn"]]["is_caught"].mean()
    assert plain < is_caught.mean() - 0.2
