"""What a challenger answered stands beside the answer that it belongs to, wherever both lie."""

import json
from datetime import UTC, date, datetime

import pandas as pd
import pytest

from melanoma.monitoring import records
from melanoma.monitoring.shadows import ALONE, OTHERS
from melanoma.monitoring.spool_lines import TORN
from tests.monitoring.test_records import DAY_1, DAY_2, compact, folder, line, spool

__all__ = ["folder"]  # a fixture
COLUMNS = [f"shadow_{name}" for name in ("model_name", "model_version", "score", "probability", "decision")]


def shadow(of="p1", time=DAY_1, **changes):
    row = {
        "schema": 1,
        "shadow_of": of,
        "time": time,
        "group_key": "g1",
        "image_sha256": f"digest of {of}",
        "scored_at": "2026-05-01T23:59:59.500000+00:00",
        "model_name": "melanoma-sample",
        "model_version": "4",
        "network_sha256": "n4",
        "score": 0.5,
        "probability": 0.75,
        "decision": "positive",
        "reason": None,
    }
    return json.dumps(row | changes).encode() + b"\n"


def read(folder, **period):
    return records.read(folder, spool=folder / "spool", **period)


def versions(folder, **period):
    """Version of the challenger beside each answer."""
    rows = read(folder, **period).rows
    found = zip(rows["prediction_id"], rows["shadow_model_version"], strict=True)
    return {one: None if pd.isna(version) else version for one, version in found}


@pytest.mark.parametrize("is_compacted", [False, True])
def test_the_answer_of_a_challenger_is_joined_and_others_have_none(folder, is_compacted):
    spool(folder, line(), line("p2"), shadow())
    if is_compacted:
        done = compact(folder)
        assert (done.num_rows, dict(done.problems)) == (2, {})
    found = read(folder)
    assert not found.problems
    first, second = found.rows[COLUMNS].to_dict("records")
    assert list(first.values()) == ["melanoma-sample", "4", 0.5, 0.75, "positive"]
    assert all(pd.isna(value) for value in second.values())
    assert (found.rows["probability"] == 0.25).all()  # that of the served model


def test_rows_without_any_challenger_have_the_columns(folder):
    spool(folder, line())
    rows = read(folder).rows
    assert rows[COLUMNS].isna().all(axis=None)
    assert rows["shadow_probability"].dtype == "float64"


@pytest.mark.parametrize("which", ["answer", "shadow", "both"])
def test_answer_and_shadow_may_lie_in_different_files_compacted_or_not(folder, which):
    spool(folder, line(), name="20260501T000000-1-a")
    if which != "shadow":
        compact(folder)
    spool(folder, shadow(), name="20260502T000000-1-b")
    if which == "both":
        compact(folder)
    assert versions(folder) == {"p1": "4"}


def test_a_compacted_line_lies_in_the_day_of_its_answer(folder):
    spool(folder, line(), line("p2", DAY_2), shadow("p2", DAY_2, scored_at="2026-05-03T00:00:00+00:00"))
    compact(folder)
    assert [path.parent.name for path in folder.glob("shadows/*/*")] == ["2026-05-02"]


def test_a_period_holds_the_lines_of_its_answers_and_misses_none(folder):
    spool(folder, line(), line("p2", DAY_2), shadow(), shadow("p2", DAY_2))
    midnight = datetime(2026, 5, 2, tzinfo=UTC)
    for _ in range(2):
        assert versions(folder, until=midnight) == {"p1": "4"}
        assert versions(folder, since=midnight) == {"p2": "4"}
        assert not read(folder, since=midnight).problems
        compact(folder)


# ---- problems --------------------------------------------------------------------------------


def test_a_line_without_its_answer_is_counted(folder):
    spool(folder, line(), shadow("lost"))
    found = read(folder)
    assert dict(found.problems) == {ALONE: 1}
    assert versions(folder) == {"p1": None}


def test_the_last_line_of_a_version_counts_and_the_challenger_that_answered_last(folder):
    early, late = (f"2026-05-0{day}T00:00:00+00:00" for day in (2, 3))
    spool(
        folder,
        line(),
        shadow(model_version="5", scored_at=late, probability=0.125),
        shadow(model_version="5", scored_at=early),
        shadow(model_version="4", scored_at=early),
    )
    found = read(folder)
    assert dict(found.problems) == {OTHERS: 1}
    assert found.rows[["shadow_model_version", "shadow_probability"]].to_numpy().tolist() == [["5", 0.125]]


def test_an_interrupted_compaction_leaves_one_line(folder):
    path = spool(folder, line(), shadow())
    content = path.read_bytes()
    compact(folder)
    path.write_bytes(content)
    found = read(folder)
    assert len(found.rows) == 1
    assert OTHERS not in found.problems
    assert versions(folder) == {"p1": "4"}


def test_a_torn_line_is_counted_and_kept(folder):
    spool(folder, line(), shadow()[:60])
    compact(folder)
    assert dict(read(folder).problems) == {TORN: 1}
    assert versions(folder) == {"p1": None}


# ---- expiry and erasure ----------------------------------------------------------------------


def test_the_lines_of_a_day_expire_with_it(folder):
    spool(folder, line(), line("p2", DAY_2), shadow(), shadow("p2", DAY_2))
    compact(folder)
    assert records.expire(folder, date(2026, 5, 2), spool=folder / "spool") == 1
    assert versions(folder) == {"p2": "4"}
    assert not (folder / "shadows" / "2026-05-01").exists()
    assert not read(folder).problems


def test_the_lines_of_a_patient_are_erased_and_others_stay(folder):
    both = (line(), shadow(), line("p2", group_key="g2"), shadow("p2", group_key="g2"))
    spool(folder, *both)
    compact(folder)
    now = datetime(2026, 5, 3, tzinfo=UTC)
    assert records.erase(folder, group_key="g1", now=now, spool=folder / "spool") == 1
    assert versions(folder) == {"p2": "4"}
    late = shadow(scored_at="2026-05-04T00:00:00+00:00")  # a challenger that was slower than the erasure
    spool(folder, late, name="20260504T000000-1-b")
    assert not read(folder).problems
    compact(folder)
    left = pd.concat([pd.read_parquet(path) for path in folder.glob("shadows/*/*.parquet")])
    assert left["group_key"].tolist() == ["g2"]
    assert not any(b"digest of p1" in one.read_bytes() for one in folder.rglob("*") if one.is_file())


def test_a_disagreement_comes_into_the_label_queue(folder):
    from melanoma.monitoring import queue
    from melanoma.monitoring.audit_draws import COLUMNS as OF_DRAWS

    spool(folder, line("same"), shadow("same", probability=0.25), line("other"), shadow("other"))
    draws = pd.DataFrame({name: [] for name in OF_DRAWS}).astype({"is_drawn": bool, "prediction_id": "str"})
    rows = read(folder).rows.assign(group_key=["g1", "g2"])
    found = queue.rank(rows, draws, size=5)
    assert found[["prediction_id", "why"]].to_numpy().tolist() == [["other", "disagreement"]]
