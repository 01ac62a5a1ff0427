"""Records are read as they were written, once each; nothing is lost when they are compacted."""

import fcntl
import json
import os
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from melanoma.errors import DataError
from melanoma.monitoring import records
from melanoma.monitoring.records import REPEATED
from melanoma.monitoring.spool_lines import CLOCK_AHEAD, CLOCK_BACK, OTHER_SCHEMA, TORN

DAY_1, DAY_2 = "2026-05-01T23:59:59.000001+00:00", "2026-05-02T00:00:00.000001+00:00"


def line(prediction_id="p1", time=DAY_1, **changes):
    row = {
        "schema": 1,
        "prediction_id": prediction_id,
        "time": time,
        "image_id": None,
        "group_key": "g1",
        "image_sha256": f"digest of {prediction_id}",
        "num_bytes": 9,
        "width": 640,
        "height": 480,
        "model_name": "melanoma-sample",
        "model_version": "3",
        "network_sha256": "n",
        "num_views": 1,
        "probability": 0.25,
        "decision": "negative",
        "reason": None,
        "threshold": 0.5,
        "score": 0.125,
        "facts": {"sharpness": 3.5},
        "embedding": "AD4AAABG",  # 1.5, 0, 6
        "milliseconds": {"whole": 12.5},
    }
    return json.dumps(row | changes).encode() + b"\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "spool").mkdir()
    return tmp_path


def spool(folder, *content, name="20260501T000000-1-a"):
    path = folder / "spool" / f"{name}.jsonl"
    path.write_bytes(b"".join(content))
    return path


def compact(folder):
    return records.compact(folder / "spool", folder)


def ids(folder, **period):
    return records.read(folder, spool=folder / "spool", **period).rows["prediction_id"].tolist()


def test_compacted_records_are_those_of_the_spool(folder):
    spool(folder, line(), line("p2", DAY_2, refusal="truncated", score=None, embedding=None, facts={}))
    before = records.read(folder, spool=folder / "spool")
    done = compact(folder)
    assert (done.num_rows, done.num_files, done.num_in_use, dict(done.problems)) == (2, 1, 0, {})
    assert not list((folder / "spool").glob("*.jsonl"))
    after = records.read(folder, spool=folder / "spool")
    pd.testing.assert_frame_equal(after.rows, before.rows, check_dtype=False)
    assert {str(found.rows["time"].dtype) for found in (before, after)} == {"datetime64[us, UTC]"}
    first, second = after.rows.to_dict("records")
    assert (first["fact_sharpness"], first["milliseconds_whole"], first["width"]) == (3.5, 12.5, 640)
    np.testing.assert_array_equal(np.frombuffer(first["embedding"], "<f2"), [1.5, 0, 6])
    assert (second["refusal"], pd.isna(second["score"])) == ("truncated", True)


def test_a_file_lies_in_the_day_of_its_records(folder):
    spool(folder, line(), line("p2", DAY_2))
    compact(folder)
    assert sorted(path.parent.name for path in folder.glob("answers/*/*")) == ["2026-05-01", "2026-05-02"]


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, ["p1", "p2"]),
        (datetime(2026, 5, 2, tzinfo=UTC), None, ["p2"]),
        (None, datetime(2026, 5, 2, tzinfo=UTC), ["p1"]),
        (datetime(2026, 5, 1, 23, tzinfo=UTC), datetime(2026, 5, 2, 1, tzinfo=UTC), ["p1", "p2"]),
        (datetime(2026, 5, 3, tzinfo=UTC), None, []),
    ],
)
@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_period_begins_with_its_first_time_and_ends_before_its_last(
    folder, since, until, expected, is_compacted
):
    spool(folder, line(), line("p2", DAY_2))
    if is_compacted:
        compact(folder)
    assert ids(folder, since=since, until=until) == expected


def test_rows_are_ordered_by_time_whatever_file_they_are_in(folder):
    spool(folder, line("late", DAY_2), name="20260501T000000-1-a")
    spool(folder, line("early", DAY_1), name="20260501T000000-2-b")
    assert ids(folder) == ["early", "late"]


# ---- damage ----------------------------------------------------------------------------------


def test_a_torn_last_line_and_other_damage_are_counted_and_kept(folder):
    torn, other = line("p3")[:50], line("p2", schema=2)
    damaged = b"\x00\x00\n[1]\n" + line(time="yesterday") + line(time="2026-05-01T00:00:00")
    path = spool(folder, line(), other, damaged, torn)
    assert dict(records.read(folder, spool=folder / "spool").problems) == {TORN: 5, OTHER_SCHEMA: 1}
    assert dict(compact(folder).problems) == {TORN: 5, OTHER_SCHEMA: 1}
    assert (folder / "unreadable" / path.name).read_bytes() == other + damaged + torn
    assert ids(folder) == ["p1"]


def test_a_file_that_a_process_has_open_stays_and_is_read(folder):
    path = spool(folder, line())
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = compact(folder)
        assert (done.num_files, done.num_in_use) == (0, 1)
        assert ids(folder) == ["p1"]
    assert compact(folder).num_files == 1


def test_an_interrupted_compaction_is_repeated_without_repeated_rows(folder):
    path = spool(folder, line())
    content = path.read_bytes()
    compact(folder)
    path.write_bytes(content)  # as if it had been killed before it removed the file
    found = records.read(folder, spool=folder / "spool")
    assert found.rows["prediction_id"].tolist() == ["p1"]
    assert dict(found.problems) == {REPEATED: 1}
    compact(folder)
    found = records.read(folder, spool=folder / "spool")
    assert (len(found.rows), dict(found.problems)) == (1, {})


def test_a_folder_that_is_none_and_a_file_that_holds_none_are_named(folder):
    with pytest.raises(DataError, match="is not a folder of records"):
        records.read(folder / "nowhere")
    path = folder / "answers" / "2026-05-01" / "a.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read as records"):
        records.read(folder)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(DataError, match="has no columns prediction_id and time"):
        records.read(folder)
    path.unlink()
    assert records.read(folder).rows.empty


# ---- clocks ----------------------------------------------------------------------------------


def at(seconds, since="2026-05-01T12:00:00+00:00"):
    return (datetime.fromisoformat(since) + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def both_readings(folder):
    """The records before and after they are compacted, and what the compaction said."""
    before = records.read(folder, spool=folder / "spool")
    done = compact(folder)
    return before, records.read(folder, spool=folder / "spool"), done


def test_a_clock_that_goes_back_is_counted_and_named_and_its_records_stay(folder):
    times = {"a": 0, "b": 60, "c": -3600, "d": -3599, "e": -3602}
    spool(folder, *(line(one, at(seconds)) for one, seconds in times.items()))
    before, after, done = both_readings(folder)
    for found in (before, after):
        assert sorted(found.rows["prediction_id"]) == sorted(times)
        assert records.clock_problems(found.rows) == {CLOCK_BACK: ["e", "c"]}
        assert dict(found.problems) == {CLOCK_BACK: 2}
        assert found.describe() == [f"2 {CLOCK_BACK}: e, c"]
    assert (done.num_rows, done.describe()) == (5, [f"2 {CLOCK_BACK}: c, e"])


def test_threads_of_a_server_and_files_of_several_servers_are_no_clock_that_goes_back(folder):
    spool(folder, line("a", at(1)), line("b", at(0)), b"torn\n", line("c", at(0.5)))
    spool(folder, line("d", at(-3600)), line("e", at(-3600)), name="20260501T000000-2-b")
    before, after, done = both_readings(folder)
    assert dict(before.problems) == dict(after.problems) == dict(done.problems) == {TORN: 1}


@pytest.mark.parametrize(("seconds", "is_ahead"), [(3600, True), (30, False), (-5, False)])
def test_a_time_in_the_future_is_counted_and_named_and_its_record_stays(folder, seconds, is_ahead):
    spool(folder, line("a", at(seconds, since=datetime.now(UTC).isoformat())))
    before, after, done = both_readings(folder)
    expected = {CLOCK_AHEAD: 1} if is_ahead else {}
    assert dict(before.problems) == dict(after.problems) == dict(done.problems) == expected
    assert after.rows["prediction_id"].tolist() == ["a"]


def test_a_problem_of_a_clock_is_named_in_its_own_period_only(folder):
    spool(folder, line("a", at(0)), line("b", at(-86400)))
    since = datetime(2026, 5, 1, tzinfo=UTC)
    assert dict(records.read(folder, spool=folder / "spool", since=since).problems) == {}
    assert dict(records.read(folder, spool=folder / "spool", until=since).problems) == {CLOCK_BACK: 1}


def test_records_that_were_compacted_before_clocks_were_looked_at_are_read(folder):
    spool(folder, line("a", at(0)), line("b", at(-86400)))
    compact(folder)
    for path in folder.glob("answers/*/*.parquet"):
        pd.read_parquet(path).drop(columns="clock_problem").to_parquet(path)
    assert dict(records.read(folder).problems) == {}
    assert len(records.read(folder).rows) == 2


def test_a_patient_is_erased_although_the_clock_of_the_server_was_ahead(folder):
    ahead = at(3600, since=datetime.now(UTC).isoformat())
    spool(folder, line("compacted", ahead), line("other", ahead, group_key="g2"))
    compact(folder)
    spool(folder, line("waiting", ahead), name="20260501T000000-2-b")
    records.erase(folder, group_key="g1", now=datetime.now(UTC), spool=folder / "spool")
    assert ids(folder) == ["other"]
    compact(folder)
    assert ids(folder) == ["other"]


# ---- expiry and erasure ----------------------------------------------------------------------


def keep_image(folder, prediction_id, place="images"):
    path = folder / place / f"digest of {prediction_id}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"image")
    return path


def test_days_before_a_date_expire_with_their_images(folder):
    spool(folder, line(), line("p2", DAY_2))
    keep_image(folder, "p1", "spool/images")
    keep_image(folder, "p2", "spool/images")
    compact(folder)
    assert records.expire(folder, date(2026, 5, 1), spool=folder / "spool") == 0
    assert records.expire(folder, date(2026, 5, 2), spool=folder / "spool") == 1
    assert ids(folder) == ["p2"]
    assert [path.name for path in (folder / "images").iterdir()] == ["digest of p2"]
    assert not (folder / "answers" / "2026-05-01").exists()


def test_a_patient_is_erased_wherever_the_records_are_and_stays_erased(folder):
    spool(folder, line(), line("p2", group_key="g2"), line("p3", group_key=None))
    compact(folder)
    path = spool(folder, line("p4"), line("p5", group_key="g2"), name="20260502T000000-1-b")
    images = [keep_image(folder, one) for one in ("p1", "p2")]
    now = datetime(2026, 5, 3, tzinfo=UTC)
    with path.open("rb") as file:  # a server is still writing to it
        fcntl.flock(file, fcntl.LOCK_EX)
        assert records.erase(folder, group_key="g1", now=now, spool=folder / "spool") == 1
        assert sorted(ids(folder)) == ["p2", "p3", "p5"]
    assert [one.exists() for one in images] == [False, True]
    compact(folder)
    assert sorted(ids(folder)) == ["p2", "p3", "p5"]
    assert not any(b"digest of p4" in one.read_bytes() for one in folder.rglob("*") if one.is_file())


def test_a_patient_who_comes_back_is_recorded_again(folder):
    spool(folder, line())
    compact(folder)
    records.erase(folder, group_key="g1", now=datetime(2026, 5, 3, tzinfo=UTC))
    spool(folder, line("again", "2026-06-01T00:00:00+00:00"))
    compact(folder)
    assert ids(folder) == ["again"]


# ---- races and kills -------------------------------------------------------------------------


def test_what_a_kill_left_half_written_is_not_read(folder):
    spool(folder, line())
    compact(folder)
    (folder / "answers" / "2026-05-01" / ".a.parquet.abcd.parquet").write_bytes(b"")
    (folder / "erased").mkdir()
    (folder / "erased" / ".g1.abcd").write_text("")
    assert ids(folder) == ["p1"]
    assert records.erase(folder, group_key="g1", now=datetime(2026, 5, 3, tzinfo=UTC)) == 1


def test_a_file_that_is_compacted_while_records_are_read_is_not_missed(folder, monkeypatch):
    spool(folder, line())
    listed = records._compacted

    def compact_first(place, *kinds):
        monkeypatch.setattr(records, "_compacted", listed)
        compact(folder)
        return listed(place, *kinds)

    monkeypatch.setattr(records, "_compacted", compact_first)
    assert ids(folder) == ["p1"]


def test_the_image_of_an_open_record_stays_in_the_spool(folder):
    path = spool(folder, line())
    image = keep_image(folder, "p1", "spool/images")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        compact(folder)
        assert image.exists()
    compact(folder)
    assert not image.exists()
    assert [one.name for one in (folder / "images").iterdir()] == ["digest of p1"]


def test_the_image_of_an_erased_patient_does_not_leave_the_spool(folder):
    records.erase(folder, group_key="g1", now=datetime(2026, 5, 3, tzinfo=UTC))
    spool(folder, line())
    image = keep_image(folder, "p1", "spool/images")
    half = keep_image(folder, "p2", "spool/images").rename(folder / "spool" / "images" / ".half")
    for one in (image, half):
        os.utime(one, (0, 0))
    compact(folder)
    assert not (folder / "images").exists()
    assert not image.exists()
    assert not half.exists()


def test_erasure_reaches_lines_that_cannot_be_read(folder):
    spool(folder, line("p2", schema=2), line("p3", schema=2, group_key="g2"))
    compact(folder)
    assert dict(records.read(folder).problems) == {OTHER_SCHEMA: 2}
    records.erase(folder, group_key="g1", now=datetime(2026, 5, 3, tzinfo=UTC))
    assert dict(records.read(folder).problems) == {OTHER_SCHEMA: 1}
