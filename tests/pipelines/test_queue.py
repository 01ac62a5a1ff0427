"""`python -m pipelines.queue` draws the audit once, and writes what to label next, with a contact sheet."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from PIL import Image

from melanoma import config, files
from melanoma.errors import DataError
from melanoma.monitoring import audit_draws
from melanoma.monitoring import labels as labelling
from melanoma.monitoring import records as reading
from melanoma.monitoring.spool_lines import CLOCK_BACK
from melanoma.serving.records import RECORDS, RECORDS_KEY, RECORDS_SPOOL
from melanoma.stages import records as stage
from melanoma.stages.queue import write_source
from pipelines import _cli, fetch, ingest, queue, records
from tests.data.pictures import encode
from tests.data.zoo import skin
from tests.imports import ROOT
from tests.monitoring.test_audit_draws import NEAR, answer

KEY = "k" * 32
NUM_GROUPS = 40
TODAY = datetime.now(UTC).isoformat(timespec="microseconds")


def line(*arguments, **changes):
    return json.dumps({"schema": 1, "milliseconds": {}} | answer(*arguments, **changes)).encode() + b"\n"


def answers(**changes):
    """Forty groups just below the threshold, and six images of today in the referral band."""
    old = [line(f"p{number:02}", f"g{number}", 1, NEAR, **changes) for number in range(NUM_GROUPS)]
    band = {"time": TODAY, "decision": "refer", **changes}
    return old + [line(f"r{number}", f"today {number}", 1, 0.5, **band) for number in range(6)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of records that a server has left."""
    monkeypatch.setenv(RECORDS_KEY, KEY)
    for name in (RECORDS, RECORDS_SPOOL):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "records"
    (folder / "spool").mkdir(parents=True)
    spool(folder, *answers())
    return folder


def spool(folder, *lines, name="a"):
    (folder / "spool" / f"20260501T000000-1-{name}.jsonl").write_bytes(b"".join(lines))


def run(place, out, *options):
    params = ["--params", str(ROOT / "params.yaml")]
    return _cli.run(queue.main, [*params, "--records", str(place), "--out", str(out), *map(str, options)])


def expected_drawn():
    """Groups that the audit draws, with the probability of `params.yaml` for those near the threshold."""
    numbers = range(NUM_GROUPS)
    return [f"p{n:02}" for n in numbers if audit_draws.number_of(f"g{n}", KEY.encode()) < 0.5]


def test_all_drawn_images_and_then_others_are_listed(place, tmp_path, capsys):
    out = tmp_path / "queue.csv"
    assert run(place, out, "--size", 4) == 0
    ranked, drawn = pd.read_csv(out), expected_drawn()
    assert 10 < len(drawn) < 30
    assert ranked["prediction_id"].tolist()[: len(drawn)] == drawn
    assert ranked["why"].tolist() == ["audit"] * len(drawn) + ["refer band"] * 4
    assert ranked["probability_drawn"].dropna().tolist() == [0.5] * len(drawn)
    assert ranked[["label", "diagnosis", "labelled_at"]].isna().all(axis=None)
    said = capsys.readouterr().out
    assert f"{len(drawn) + 4} images, {len(drawn)} audit, 4 refer band" in said
    assert f"the audit drew among {NUM_GROUPS} new groups" in said


def test_a_clock_that_went_back_is_named(place, tmp_path, capsys):
    spool(place, *answers(), line("after", "g0"), name="a")
    assert run(place, tmp_path / "queue.csv") == 0
    assert f"in the records: 1 {CLOCK_BACK}: after" in capsys.readouterr().out


def test_groups_are_drawn_once(place, tmp_path, capsys):
    assert run(place, tmp_path / "queue.csv") == 0
    (path,) = (place / "draws").glob("*.parquet")
    content = path.read_bytes()
    spool(place, line("late", "g0", 2), line("new", "new group", 2), name="b")
    assert run(place, tmp_path / "queue.csv") == 0
    assert "the audit drew among 1 new groups" in capsys.readouterr().out
    assert path.read_bytes() == content
    draws = audit_draws.read(place)
    assert len(draws) == NUM_GROUPS + 1
    assert draws.loc[draws["prediction_id"] == "new", "probability_drawn"].tolist() == [0.05]


def test_labelled_images_leave_the_queue(place, tmp_path, capsys):
    out, filled = tmp_path / "queue.csv", tmp_path / "filled.csv"
    run(place, out, "--size", 2)
    table = pd.read_csv(out)
    table["label"] = table["label"].astype("str")
    table.loc[0, "label"] = "negative"
    table.loc[1, "label"] = "nevus"
    table.to_csv(filled, index=False)
    assert run(place, out, "--size", 2, "--labels", filled) == 0
    assert f"1 {labelling.UNKNOWN_WORD}: filled.csv:3" in capsys.readouterr().out
    assert pd.read_csv(out)["prediction_id"].tolist() == table["prediction_id"].tolist()[1:]


@pytest.mark.parametrize("separator", [",", ";"])  # as spreadsheets of some languages save it
def test_a_file_with_labels_is_never_replaced(place, tmp_path, capsys, separator):
    out = tmp_path / "queue.csv"
    run(place, out)
    table = pd.read_csv(out, dtype=str)
    table.loc[3, "label"] = "positive"
    table.to_csv(out, index=False, sep=separator)
    before = out.read_bytes()
    assert run(place, out) == 1
    assert "holds labels, which would be lost. Name another file with --out" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_the_period_is_that_of_the_images_beside_the_audit(place, tmp_path):
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    run(place, tmp_path / "a.csv", "--since", tomorrow)
    assert pd.read_csv(tmp_path / "a.csv")["prediction_id"].tolist() == expected_drawn()
    run(place, tmp_path / "b.csv", "--until", tomorrow, "--reference-until", "2026-05-02")
    assert len(pd.read_csv(tmp_path / "b.csv")) == len(expected_drawn()) + 6
    run(place, tmp_path / "c.csv", "--reference-until", tomorrow)
    assert len(pd.read_csv(tmp_path / "c.csv")) == len(expected_drawn())


def test_the_model_is_named_if_there_are_several(place, tmp_path, capsys):
    spool(place, line("other", "g0", model_name="melanoma-other"), name="b")
    out = tmp_path / "queue.csv"
    assert run(place, out) == 1
    assert "choose one with --model: ['melanoma-other', 'melanoma-sample']" in capsys.readouterr().err
    assert run(place, out, "--model", "melanoma-nobody") == 1
    assert "No answer of the model 'melanoma-nobody' is recorded" in capsys.readouterr().err
    assert not out.exists()
    assert run(place, out, "--model", "melanoma-sample") == 0
    assert "other" not in pd.read_csv(out)["prediction_id"].tolist()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--labels", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--images", "nowhere"], "nowhere is not a folder of images"),
        (["--model", "melanoma-other"], "No answer of the model"),
    ],
)
def test_after_an_error_nothing_is_written(place, tmp_path, options, reason, capsys):
    assert run(place, tmp_path / "queue.csv", *options) == 1
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.glob("*.csv"))
    assert not list(place.glob("draws/*.parquet"))


def test_without_the_key_nothing_is_drawn(place, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(RECORDS_KEY)
    assert run(place, tmp_path / "queue.csv") == 1
    assert f"{RECORDS_KEY} has 0 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "the following arguments are required: --records"),
        (["--since", "May"], "expected a date such as 2026-05-31"),
    ],
)
def test_what_is_missing_or_no_date_is_named(options, reason, capsys, monkeypatch):
    monkeypatch.delenv(RECORDS, raising=False)
    with pytest.raises(SystemExit):
        _cli.run(queue.main, ["--out", "queue.csv", *options])
    assert reason in capsys.readouterr().err


def test_records_without_an_answer_give_an_empty_queue(tmp_path, place):
    (place / "spool" / "20260501T000000-1-a.jsonl").unlink()
    assert run(place, tmp_path / "queue.csv") == 0
    assert pd.read_csv(tmp_path / "queue.csv").empty


# ---- the contact sheet -----------------------------------------------------------------------


@pytest.fixture
def pictures(place, tmp_path):
    """The images of today under other names, two missing, one unrelated; a queue of nothing else."""
    folder, lines = tmp_path / "images", []
    (folder / "below").mkdir(parents=True)
    for number in range(6):
        encoded = encode(skin(number), "PNG")
        if number < 4:
            (folder / "below" / f"file {number}").write_bytes(encoded)
        digest = hashlib.sha256(encoded).hexdigest()
        band = {"time": TODAY, "decision": "refer", "image_sha256": digest}
        lines.append(line(f"r{number}", f"today {number}", 1, 0.5, **band))
    (folder / "unrelated.png").write_bytes(encode(skin(9), "PNG"))
    spool(place, *lines)
    return folder


def test_images_are_found_by_their_bytes_and_missing_ones_are_named(place, pictures, tmp_path, capsys):
    out = tmp_path / "queue.csv"
    assert run(place, out, "--images", pictures) == 0
    said = capsys.readouterr().out
    assert f"2 images are not in {pictures}: image r4, image r5" in said
    assert f"4 images shown: {tmp_path / 'queue.png'}" in said
    with Image.open(tmp_path / "queue.png") as sheet:
        colours = sheet.getcolors(2**24)
    assert len(colours or []) > 1000  # pictures, not grey tiles
    (pictures / "below" / "file 0").unlink()
    assert run(place, out, "--images", pictures) == 0
    assert "3 images are not in" in capsys.readouterr().out


def test_no_sheet_is_drawn_of_no_image(place, pictures, tmp_path, capsys):
    for path in (pictures / "below").iterdir():
        path.unlink()
    assert run(place, tmp_path / "queue.csv", "--images", pictures) == 0
    assert "6 images are not in" in capsys.readouterr().out
    assert not (tmp_path / "queue.png").exists()


# ---- labelled images as a dataset ------------------------------------------------------------


def test_labelled_images_become_a_source_that_fetch_adds(place, pictures, tmp_path, capsys):
    out, raw, records = tmp_path / "labelled", tmp_path / "raw", tmp_path / "records.parquet"
    filled = tmp_path / "filled.csv"
    filled.write_text(
        "prediction_id,label,diagnosis\nr0,positive,melanoma\nr1,negative,\nr5,negative,\nx,maybe,\n"
    )
    asked = ["--records", str(place), "--labels", str(filled), "--images", str(pictures)]
    assert _cli.run(queue.main, [*asked, "--labelled-out", str(out)]) == 0
    said = capsys.readouterr().out
    for line in (
        f"2 images: {out}",
        f"1 {labelling.UNKNOWN_WORD}: filled.csv:5",
        f"1 images are not in {pictures}: {files.plain_name('image r5')}",
    ):
        assert line in said
    options = ["--add", "--no-dvc", "--out", str(raw)]
    add = ["clinic", "--metadata", str(out / "metadata.csv"), "--images", str(out / "images"), *options]
    for _ in range(2):  # the second time changes nothing
        assert _cli.run(fetch.main, add) == 0
        params = ["--params", str(ROOT / "params.yaml")]
        ingested = ["--dataset", "clinic", "--raw", str(raw), "--out", str(records)]
        assert _cli.run(ingest.main, [*params, *ingested]) == 0
        table = pd.read_parquet(records).set_index("patient_id")
        assert table["target"].to_dict() == {"today 0": 1, "today 1": 0}
        for column, expected in (
            ("dataset", "clinic"),
            ("licence", "internal-use-only"),
            ("attribution", "Images of the own clinic"),
        ):
            assert table[column].tolist() == [expected, expected]
        assert not table["is_synthetic"].any()
    assert "internal-use-only" in config.load(ROOT / "params.yaml").checks.licences
    for path in raw.glob("images/*"):
        assert path.read_bytes() in {encode(skin(number), "PNG") for number in (0, 1)}


def test_labelled_images_keep_a_licence_of_their_own(place, pictures, tmp_path):
    filled = tmp_path / "filled.csv"
    filled.write_text("prediction_id,label\nr1,negative\n")
    write_source(str(place), [filled], pictures, tmp_path / "labelled", licence="CC-BY")
    assert pd.read_csv(tmp_path / "labelled" / "metadata.csv")["copyright_license"].tolist() == ["CC-BY"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--labelled-out", "x"], "--labelled-out needs --labels and --images"),
        (["--labelled-out", "x", "--labels", "a.csv"], "--labelled-out needs --labels and --images"),
        (["--labelled-out", "x", "--out", "queue.csv"], "not allowed with argument"),
        ([], "one of the arguments --out --labelled-out is required"),
    ],
)
def test_labelled_images_need_labels_images_and_no_queue(options, reason, capsys):
    with pytest.raises(SystemExit):
        _cli.run(queue.main, ["--records", "records", *options])
    assert reason in capsys.readouterr().err


def test_a_source_needs_a_labelled_image(place, pictures, tmp_path):
    filled = tmp_path / "filled.csv"
    filled.write_text("prediction_id,label\nr5,negative\n")
    with pytest.raises(DataError, match="None of the 1 labelled images is in"):
        write_source(str(place), [filled], pictures, tmp_path / "labelled")
    assert not (tmp_path / "labelled").exists()


# ---- kept in order with the records ----------------------------------------------------------


def test_erased_patients_lose_their_draw(place, tmp_path, monkeypatch):
    from melanoma.serving.records import group_key

    spool(place, line("a", group_key("patient 1", KEY.encode())), line("b", "g2"))
    run(place, tmp_path / "queue.csv")
    assert len(audit_draws.read(place)) == 2
    (path,) = (place / "draws").glob("*.parquet")
    assert _cli.run(records.main, ["erase", "--records", str(place), "--group-id", "patient 1"]) == 0
    assert pd.read_parquet(path)["prediction_id"].tolist() == ["b"]


@pytest.mark.slow
def test_draws_of_records_in_s3_are_kept_there(s3, new_bucket, place, tmp_path, monkeypatch):
    s3.client.create_bucket(Bucket=new_bucket)
    there = f"s3://{new_bucket}/clinic/records"
    monkeypatch.setenv(RECORDS_SPOOL, str(place / "spool"))
    assert _cli.run(records.main, ["compact", "--records", there]) == 0
    for _ in range(2):
        assert run(there, tmp_path / "queue.csv") == 0
        with stage.opened(there) as folder:
            assert len(list(folder.glob("draws/*.parquet"))) == 1
            assert len(audit_draws.read(folder)) == NUM_GROUPS
            found = reading.read(folder).rows
    queued = pd.read_csv(tmp_path / "queue.csv")
    assert queued["prediction_id"].tolist()[: len(expected_drawn())] == expected_drawn()
    assert len(found) == NUM_GROUPS + 6
