"""`python -m pipelines.monitor` on answers of the sample's model: quiet on like images, alarm on others."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from melanoma import tracking
from melanoma.monitoring import audit_draws
from melanoma.monitoring import records as reading
from melanoma.monitoring.spool_lines import CLOCK_BACK, TORN
from melanoma.registry import ledger
from melanoma.serving.records import RECORDS, RECORDS_KEY, RECORDS_SPOOL
from pipelines import _cli, monitor
from tests.monitoring.test_records import line
from tests.pipelines.workspace import change_params

NAME, KEY = "melanoma-sample", "k" * 32
NOW = datetime.now(UTC)
SINCE, UNTIL = ((NOW + timedelta(days=days)).date().isoformat() for days in (-1, 2))


@pytest.fixture
def records(own, monkeypatch):
    """A folder of records; answers of this process go there."""
    monkeypatch.delenv(RECORDS_SPOOL, raising=False)
    monkeypatch.setenv(RECORDS, str(own / "records"))
    monkeypatch.setenv(RECORDS_KEY, KEY)
    (own / "records" / "spool").mkdir(parents=True)
    return own / "records"


def darkened(encoded: bytes) -> bytes:
    """The image with half the light."""
    pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")) // 2
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def answer(change=bytes, **params):
    """Let the model of version 1 answer for the validation images."""
    splits = pd.read_csv("data/splits/sample.csv").query("split == 'validation'")
    paths = pd.read_parquet("data/accepted/sample.parquet").set_index("image_id")["path"]
    images = [change(Path(paths[image_id]).read_bytes()) for image_id in splits["image_id"]]
    frame = pd.DataFrame({"image": images, "group_id": splits["group_id"].to_numpy()})
    return mlflow.pyfunc.load_model(f"models:/{NAME}/1").predict(frame, params=params)


def run(*options, since=SINCE, until=UNTIL):
    window = ["--since", since, "--until", until]
    return _cli.run(monitor.main, [NAME, "--version", "1", *window, *options])


def result():
    return json.loads(Path("reports/monitoring", NAME, "window.json").read_text())


def test_answers_like_those_on_validation_are_quiet(records, capsys):
    answers = answer()
    assert run() == 0
    assert f"{len(answers)} rows of version 1, no alarm" in capsys.readouterr().out
    found = result()
    assert found["rows"]["decisions"] == answers["decision"].value_counts().to_dict()
    assert (found["rows"]["num_without_group"], found["rows"]["num_refused"]) == (0, 0)
    names = {one["name"] for one in found["shift"]["features"]}
    assert {"score", "referred", "refused", "brightness", "distance", "embedding_axis_1"} <= names
    assert all(abs(one["effect"]) < 0.05 for one in found["shift"]["features"])
    assert found["checks"][0]["check"] == "answered"
    page = Path("reports/monitoring", NAME, "index.html").read_text()
    assert "No alarm" in page
    assert "http" not in page.replace("http-equiv", "")  # it loads nothing
    assert (Path("reports/monitoring", NAME) / "checks" / "index.html").exists()


def test_a_darker_camera_is_an_alarm_that_names_what_changed(records, capsys):
    answer(darkened)
    assert run() == 2
    assert "brightness (-0.4" in capsys.readouterr().out
    found = result()
    assert [one["name"] for one in found["shift"]["features"] if one["is_shifted"]]
    (entry,) = [one for one in ledger.entries(NAME) if one.kind == "monitor"]
    assert (entry.tags["is_alarm"], entry.tags["version"]) == ("true", "1")
    logged = tracking.read_run(entry.tags["run"])
    assert logged.data.metrics["monitor/effect_brightness"] == pytest.approx(-0.5, abs=0.1)
    assert logged.data.metrics["monitor/p_value"] == found["shift"]["p_value"]


def test_the_same_camera_is_quiet_once_its_answers_are_accepted(records):
    answer(darkened)
    reading.compact(records / "spool", records)
    before = (NOW - timedelta(days=30)).isoformat(timespec="microseconds")
    for path in records.glob("answers/*/*.parquet"):  # they were given a month ago
        rows = pd.read_parquet(path).assign(time=pd.Timestamp(before))
        folder = records / "answers" / before[:10]
        folder.mkdir()
        ids = [f"earlier-{number}" for number in range(len(rows))]
        rows.assign(prediction_id=ids).to_parquet(folder / path.name)
    accepted = [(NOW - timedelta(days=days)).date().isoformat() for days in (31, 29)]
    assert run("--accepted-since", accepted[0], "--accepted-until", accepted[1]) == 0
    assert "accepted answers from" in result()["reference"]
    assert run() == 2  # against the validation images it stays an alarm


def test_rows_of_other_versions_and_torn_lines_are_counted_and_left_out(records):
    answer()
    other = line("other", NOW.isoformat(), model_version="7")
    unregistered = line("third", NOW.isoformat(), model_name=None, model_version="abc")
    (records / "spool" / "a.jsonl").write_bytes(other + unregistered + other[:30])
    assert run() == 0
    assert result()["problems"] == {
        TORN: 1,
        "rows of melanoma-sample version 7": 1,
        "rows of an unregistered model version abc": 1,
    }


def test_a_clock_that_went_back_is_named_and_no_row_is_lost(records):
    earlier = (NOW - timedelta(hours=1)).isoformat()
    times = {"before": NOW.isoformat(), "after": earlier}
    written = [line(one, time, model_version="1", embedding=None) for one, time in times.items()]
    (records / "spool" / "a.jsonl").write_bytes(b"".join(written))
    assert run() == 0
    found = result()
    assert found["rows"]["num_rows"] == 2
    assert found["problems"] == {CLOCK_BACK: 1}
    assert found["notes"] == [f"1 {CLOCK_BACK}: after"]


def test_a_window_without_rows_is_no_alarm_and_says_so(records):
    assert run() == 0
    found = result()
    assert found["notes"] == ["The window has no rows of this version."]
    assert found["shift"]["undefined"]
    assert found["checks"] == []


def test_refused_images_count(records):
    answer()
    model = mlflow.pyfunc.load_model(f"models:/{NAME}/1")
    for start in range(0, 40, 5):
        with pytest.raises(mlflow.exceptions.MlflowException):
            model.predict(pd.DataFrame({"image": [b"no image %d" % n for n in range(start, start + 5)]}))
    assert run() == 2
    found = result()
    assert found["rows"]["num_refused"] == 40
    (answered,) = [one for one in found["checks"] if one["check"] == "answered"]
    assert (answered["is_passed"], answered["num_failing"], len(answered["failing"])) == (False, 40, 5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--since", UNTIL, "--until", SINCE], "ends before it begins"),
        (
            ["--since", SINCE, "--until", UNTIL, "--accepted-since", SINCE, "--accepted-until", UNTIL],
            "overlap, so the window would be compared with itself",
        ),
        (["--since", SINCE, "--until", UNTIL, "--version", "99"], "has no version 99"),
        (["--since", SINCE, "--until", UNTIL, "--records", "nowhere"], "is not a folder of records"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_nothing_is_written(records, options, reason, capsys):
    assert _cli.run(monitor.main, [NAME, *options]) == 1
    assert reason in capsys.readouterr().err
    assert not Path("reports/monitoring").exists()
    assert not [one for one in ledger.entries(NAME) if one.kind == "monitor"]


# ---- labels ----------------------------------------------------------------------------------


def audited(records, answers, labels):
    """Draw every group, as on the day after, and write the labels of a reader."""
    rows = reading.read(records, spool=records / "spool").rows
    tomorrow = NOW + timedelta(days=1.5)
    fractions = {"audit_fraction": 1.0, "audit_fraction_near": 1.0}
    change_params(Path("params.yaml"), queue=fractions)
    known, key = audit_draws.read(records), KEY.encode()
    drawn = audit_draws.draw(rows, known, key=key, now=tomorrow, near_factor=0.5, **fractions)
    audit_draws.write(drawn, records, tomorrow)
    path = records.parent / "labels.csv"
    pd.DataFrame({"prediction_id": answers["prediction_id"], "label": labels}).to_csv(path, index=False)
    return str(path)


def test_missed_melanomas_are_an_alarm_and_calibration_is_measured(records, capsys):
    answers = answer(threshold=0.999)
    is_missed = answers["probability"] < answers["threshold"]
    path = audited(records, answers, np.where(is_missed, "positive", "negative"))
    assert is_missed.sum() >= 2
    assert run("--labels", path) == 2
    assert "the sensitivity in use is below 0.9: estimate 0.000" in capsys.readouterr().out
    found = result()
    assert found["sensitivity"]["num_drawn"] == found["sensitivity"]["num_labelled"] > 0
    assert found["num_labelled_audit"] == len(answers)
    assert "one class" in found["calibration"]["calibration_slope"]["undefined"]
    assert "Sensitivity in use" in Path("reports/monitoring", NAME, "index.html").read_text()


def test_few_labels_of_a_right_model_are_no_alarm_but_too_few(records):
    answers = answer()
    is_called = answers["probability"] >= answers["threshold"]
    path = audited(records, answers, np.where(is_called, "positive", "negative"))
    assert run("--labels", path) == 0
    found = result()["sensitivity"]
    assert (found["estimate"], found["is_below_minimum"]) == (1, False)
    assert "too few labels" in found["reason"]
    assert found["num_needed"] > 0


def test_the_page_shows_a_calibration_that_is_known(records):
    answers = answer()
    path = audited(records, answers, ["positive", "negative"] * (len(answers) // 2) + ["negative"])
    assert run("--labels", path) in (0, 2)
    measured = result()["calibration"]["calibration_intercept"]
    assert measured["low"] < measured["value"] < measured["high"]
    page = Path("reports/monitoring", NAME, "index.html").read_text()
    assert f"{measured['value']:.3f}" in page


def test_labels_that_fit_no_answer_are_named_and_the_others_count(records):
    answers = answer()
    path = audited(records, answers, ["negative"] * len(answers))
    with Path(path).open("a") as file:
        file.write("nobody,positive\n")
    assert run("--labels", path) == 0
    (note,) = result()["notes"]
    assert note == f"1 labels of images without an answer: labels.csv:{len(answers) + 2}"


def test_labels_without_an_audit_say_nothing_and_the_window_is_still_compared(records):
    answers = answer(darkened)
    path = records.parent / "labels.csv"
    pd.DataFrame({"prediction_id": answers["prediction_id"], "label": "negative"}).to_csv(path, index=False)
    assert run("--labels", str(path)) == 2
    found = result()
    assert found["sensitivity"] is None
    assert "Run `python -m pipelines.queue` on a day after the answers" in found["notes"][0]
