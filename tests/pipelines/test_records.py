"""`python -m pipelines.records` keeps records in order, in a folder and in a real S3 store."""

from datetime import UTC, datetime

import pytest

from melanoma.monitoring import records as reading
from melanoma.monitoring.spool_lines import CLOCK_BACK
from melanoma.serving.records import RECORDS, RECORDS_KEY, RECORDS_SPOOL, group_key
from melanoma.stages import records as stage
from pipelines import _cli, records
from tests.imports import ROOT
from tests.monitoring.test_records import line
from tests.monitoring.test_shadows import shadow

KEY = "k" * 32
OLD, NEW = "2020-01-01T00:00:00+00:00", datetime.now(UTC).isoformat(timespec="microseconds")


@pytest.fixture
def spool(tmp_path, monkeypatch):
    """A spool that a server has left, with the records of two patients, two of them shadowed."""
    for name in (RECORDS, RECORDS_SPOOL):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(RECORDS_KEY, KEY)
    folder = tmp_path / "spool"
    folder.mkdir()
    keys = {patient: group_key(patient, KEY.encode()) for patient in ("patient 1", "patient 2")}
    rows = [
        line("old", OLD, group_key=keys["patient 1"]),
        line("new", NEW, group_key=keys["patient 1"]),
        line("other", NEW, group_key=keys["patient 2"]),
        shadow("new", NEW, group_key=keys["patient 1"]),
        shadow("other", NEW, group_key=keys["patient 2"]),
    ]
    (folder / "20260501T000000-1-a.jsonl").write_bytes(b"".join(rows))
    return folder


def run(*arguments):
    return _cli.run(records.main, ["--params", str(ROOT / "params.yaml"), *arguments])


def read(place, spool=None):
    with stage.opened(place) as folder:
        return reading.read(folder, spool=spool)


def ids(place, spool=None):
    return sorted(read(place, spool).rows["prediction_id"])


def shadowed(place):
    """The answers that a challenger answered, too; no line may be without its answer."""
    found = read(place)
    assert not found.problems
    return found.rows.dropna(subset=["shadow_probability"])["prediction_id"].tolist()


def test_records_in_a_folder_are_compacted_expire_and_are_erased(spool, tmp_path, monkeypatch, capsys):
    place = str(tmp_path / "records")
    monkeypatch.setenv(RECORDS_SPOOL, str(spool))
    monkeypatch.setenv(RECORDS, place)
    assert run("compact") == 0
    assert "3 records of 1 files compacted, 0 files in use" in capsys.readouterr().out
    assert run("expire") == 0
    assert "1 records older than 730 days removed" in capsys.readouterr().out
    assert ids(place) == shadowed(place) == ["new", "other"]
    assert run("erase", "--group-id", "patient 1") == 0
    assert "1 records of this group removed" in capsys.readouterr().out
    assert ids(place) == shadowed(place) == ["other"]


def test_compact_names_records_after_a_clock_that_went_back(spool, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(RECORDS_SPOOL, str(spool))
    (spool / "20260501T000000-2-b.jsonl").write_bytes(line("before", NEW) + line("after", OLD))
    assert run("compact", "--records", str(tmp_path / "records")) == 0
    assert f"5 records of 2 files compacted, 0 files in use, 1 {CLOCK_BACK}: after" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["compact"], "the following arguments are required: --records"),
        (["erase", "--records", "x"], "--group-id is needed for erase"),
        (["compact", "--records", "x", "--group-id", "a"], "only for it"),
    ],
)
def test_what_is_missing_is_named(spool, arguments, reason, capsys):
    with pytest.raises(SystemExit):
        run(*arguments)
    assert reason in capsys.readouterr().err


def test_nobody_is_erased_without_the_key(spool, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(RECORDS_SPOOL, str(spool))
    (tmp_path / "records").mkdir()
    monkeypatch.delenv(RECORDS_KEY)
    erase = ["erase", "--records", str(tmp_path / "records"), "--group-id", "patient 1"]
    assert run(*erase) == 1
    assert f"{RECORDS_KEY} has 0 characters" in capsys.readouterr().err
    assert ids(str(tmp_path / "records"), spool) == ["new", "old", "other"]


@pytest.mark.slow
def test_records_in_s3_are_compacted_expire_and_are_erased_with_old_versions(
    spool, s3, new_bucket, monkeypatch
):
    s3.client.create_bucket(Bucket=new_bucket)
    s3.client.put_bucket_versioning(Bucket=new_bucket, VersioningConfiguration={"Status": "Enabled"})
    place = f"s3://{new_bucket}/clinic/records"
    monkeypatch.setenv(RECORDS_SPOOL, str(spool))
    monkeypatch.setenv(RECORDS, place)
    (spool / "images").mkdir()
    for one in ("new", "other"):
        (spool / "images" / f"digest of {one}").write_bytes(b"image")
    assert run("compact") == 0
    assert not list(spool.rglob("*.parquet"))
    assert ids(place) == ["new", "old", "other"]
    assert run("compact") == 0  # nothing is left to do
    assert run("expire") == 0
    assert shadowed(place) == ["new", "other"]
    assert run("erase", "--group-id", "patient 1") == 0
    assert ids(place) == shadowed(place) == ["other"]
    versions = s3.client.list_object_versions(Bucket=new_bucket)
    contents = [
        s3.client.get_object(Bucket=new_bucket, Key=one["Key"], VersionId=one["VersionId"])["Body"].read()
        for one in versions["Versions"]
    ]
    key = group_key("patient 1", KEY.encode())
    assert not any(key.encode() in content for content in contents)
    assert [one["Key"] for one in versions["Versions"] if "images" in one["Key"]] == [
        "clinic/records/images/digest of other"
    ]

    # What was in a file that a server had open when the patient was erased is dropped when it is compacted.
    (spool / "20260601T000000-1-b.jsonl").write_bytes(line("open", NEW, group_key=key))
    assert run("compact") == 0
    assert ids(place) == ["other"]


@pytest.mark.slow
def test_a_store_that_does_not_answer_loses_nothing(spool, monkeypatch, s3, new_bucket, capsys):
    monkeypatch.setenv(RECORDS_SPOOL, str(spool))
    place = f"s3://{new_bucket}/records"
    assert run("compact", "--records", place) == 1
    assert "there is no such bucket" in capsys.readouterr().err
    s3.client.create_bucket(Bucket=new_bucket)
    assert run("compact", "--records", place) == 0
    assert ids(place) == ["new", "old", "other"]
