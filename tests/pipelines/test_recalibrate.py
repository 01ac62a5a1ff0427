"""`python -m pipelines.recalibrate` on labelled answers of the sample's model in a clinic."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from melanoma import files, tracking
from melanoma.fingerprint import FILES_TAG
from melanoma.monitoring import audit_draws, reference
from melanoma.monitoring import records as reading
from melanoma.registry import ledger, moves, versions
from melanoma.scoring.operating_point import Calibration, OperatingPoint, logit
from melanoma.serving import client
from melanoma.serving.records import RECORDS, RECORDS_KEY, RECORDS_SPOOL
from melanoma.serving.settings import Settings
from pipelines import _cli, history, monitor, recalibrate, release, rollback, trace
from tests.end_to_end import clone
from tests.pipelines import workspace as ws

NAME, CLINIC, KEY = "melanoma-sample", "north-2", "k" * 32
ALIAS = "staging-north-2"
NOW = datetime.now(UTC)
FEW = {"min_labels": 30, "min_of_each_class": 5, "num_folds": 3, "num_bootstrap_draws": 200}
ALL = {"audit_fraction": 1.0, "audit_fraction_near": 1.0}


@pytest.fixture
def place(own, monkeypatch):
    """A clinic that labels all its images; answers of this process are recorded there."""
    monkeypatch.delenv(RECORDS_SPOOL, raising=False)
    monkeypatch.setenv(RECORDS, str(own / "records"))
    monkeypatch.setenv(RECORDS_KEY, KEY)
    (own / "records" / "spool").mkdir(parents=True)
    ws.change_params(Path("params.yaml"), recalibrate=FEW, queue=ALL)
    return own / "records"


def images() -> pd.DataFrame:
    """All images of the sample, as a clinic posts them."""
    splits = pd.read_csv("data/splits/sample.csv")
    paths = pd.read_parquet("data/accepted/sample.parquet").set_index("image_id")["path"]
    encoded = [Path(paths[image_id]).read_bytes() for image_id in splits["image_id"]]
    return pd.DataFrame({"image": encoded, "group_id": splits["group_id"].to_numpy()})


def recorded(place: Path, version: str = "1") -> pd.DataFrame:
    """Let a version answer for all images and draw all groups; its records."""
    mlflow.pyfunc.load_model(f"models:/{NAME}/{version}").predict(images())
    rows = reading.read(place, spool=place / "spool").rows
    tomorrow = NOW + timedelta(days=1.5)
    known = audit_draws.read(place)
    drawn = audit_draws.draw(rows, known, key=KEY.encode(), now=tomorrow, near_factor=0.5, **ALL)
    if len(drawn):
        audit_draws.write(drawn, place, tomorrow)
    return rows


def labels_of(rows: pd.DataFrame, *, shift: float, slope: float = 1.5) -> pd.Series:
    """Labels that are more likely the higher the score is; `shift` is the log odds of the mean."""
    log_odds = logit(rows["score"].to_numpy())
    likely = expit(shift + slope * (log_odds - log_odds.mean()) / log_odds.std())
    drawn = np.random.default_rng(1).random(len(rows))
    return pd.Series(np.where(drawn < likely, "positive", "negative"), index=rows.index)


def write(place: Path, rows: pd.DataFrame, labels: pd.Series) -> str:
    path = place.parent / "labels.csv"
    pd.DataFrame({"prediction_id": rows["prediction_id"], "label": labels}).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def shifted(place):
    """Labels of a clinic where far more lesions are positive than the model expects."""
    rows = recorded(place)
    return write(place, rows, labels_of(rows, shift=1.5))


def run(labels: str, *options: str, clinic: str = CLINIC) -> int:
    return _cli.run(recalibrate.main, [NAME, f"--clinic={clinic}", "--labels", labels, *options])


def result(clinic: str = CLINIC) -> dict:
    return json.loads(Path("reports/recalibration", NAME, f"{clinic}.json").read_text())


def numbers() -> list[int]:
    found = tracking.client().search_model_versions(f"name = '{NAME}'")
    return sorted(int(version.version) for version in found)


def aliases() -> dict[str, int]:
    found = tracking.client().search_registered_models(f"name = '{NAME}'")[0].aliases
    return {alias: int(number) for alias, number in found.items()}


def test_a_shifted_clinic_gets_a_version_with_the_same_network_and_its_own_operating_point(
    shifted, tmp_path, capsys
):
    before = aliases()
    assert run(shifted) == 0
    said = capsys.readouterr().out
    assert f"{NAME}: {ALIAS} is version 2 now, nothing before; recalibrated from version 1" in said
    assert aliases() == before | {ALIAS: 2}
    old, new = (versions.get_version(NAME, number) for number in (1, 2))
    for tag in (versions.NETWORK_TAG, "run_id", "cohort", "is_synthetic", "positive_means"):
        assert new.tags[tag] == old.tags[tag]
    assert (new.tags["clinic"], new.tags["recalibrated_from"], new.tags["gate"]) == (CLINIC, "1", "passed")
    assert "research software, not a medical device" in new.description.lower()
    assert "SYNTHETIC" in new.description
    folders = [
        versions.require_untouched(one, tmp_path / str(one.version)) / "artifacts" for one in (old, new)
    ]
    theirs, ours = (Settings.read(folder / "settings.json") for folder in folders)
    found = result()
    assert OperatingPoint.from_dict(found["operating_point"]).to_dict() == ours.operating_point.to_dict()
    assert ours.operating_point.calibration != theirs.operating_point.calibration
    assert files.as_json(vars(ours) | {"operating_point": 0}) == files.as_json(
        vars(theirs) | {"operating_point": 0}
    )
    rows, earlier = (reference.read(folder / "reference.parquet") for folder in reversed(folders))
    assert rows["score"].tolist() == earlier["score"].tolist()
    expected = ours.operating_point.calibration.apply(rows["score"].to_numpy())
    np.testing.assert_allclose(rows["probability"], expected)
    assert (rows["threshold"] == ours.operating_point.threshold).all()
    assert found["gain"]["log_loss"]["low"] > 0
    assert found["before"]["calibration_intercept"]["low"] > 0.2
    assert abs(found["after"]["calibration_intercept"]["value"]) < 0.3
    assert found["num_unlabelled_groups"] == 0
    assert found["num_images"] == len(images())
    assert (
        files.read_json(
            tracking.download_run_file(new.tags["recalibration_run_id"], f"{CLINIC}.json", tmp_path)
        )["version"]
        == 2
    )


def test_the_same_labels_find_the_same_version_and_more_labels_make_another(place, capsys):
    rows = recorded(place)
    labels = labels_of(rows, shift=1.5)
    some = write(place, rows, labels.mask(np.arange(len(rows)) < 8))
    assert run(some) == 0
    assert run(some) == 0
    assert numbers() == [1, 2]
    assert result()["num_unlabelled_groups"] > 0
    every = write(place, rows, labels)
    assert run(every) == 0
    assert aliases()[ALIAS] == 3
    (move, other) = ledger.moves(NAME, ALIAS)
    assert (move.kind, move.version, other.previous) == ("recalibrate", 2, 2)
    assert run(every, clinic="south") == 0  # another clinic has a version of its own
    assert (aliases()[ALIAS], aliases()["staging-south"]) == (3, 4)
    who = ["--by", "A. Name", "--reason", "wrong labels"]
    assert _cli.run(rollback.main, [NAME, "--alias", ALIAS, *who]) == 0
    assert (aliases()[ALIAS], aliases()["staging-south"]) == (2, 4)
    capsys.readouterr()
    assert _cli.run(history.main, [NAME, "--alias", ALIAS]) == 0
    told = capsys.readouterr().out
    assert told.count("│ recalibrate ") == 2
    assert "warning" not in told


def test_an_interrupted_registration_is_completed(shifted, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(moves, "move_alias", interrupted)
    assert run(shifted) == 130
    assert ALIAS not in aliases()
    monkeypatch.undo()
    monkeypatch.setenv(RECORDS, "records")
    monkeypatch.setenv(RECORDS_KEY, KEY)
    assert run(shifted) == 0
    assert (aliases()[ALIAS], numbers()) == (2, [1, 2])


def test_a_version_of_a_clinic_is_traced_watched_and_not_released(shifted, place, capsys):
    assert run(shifted) == 0
    old, new = (mlflow.pyfunc.load_model(f"models:/{NAME}/{number}") for number in (1, 2))
    answers, earlier = new.predict(images()), old.predict(images())
    assert set(answers["verification"]) == {"verified"}
    point = result()["operating_point"]
    recorded_rows = reading.read(place, spool=place / "spool").rows
    mine = recorded_rows.set_index("prediction_id").loc[answers["prediction_id"]]
    calibration = OperatingPoint.from_dict(point).calibration
    np.testing.assert_allclose(answers["probability"], calibration.apply(mine["score"].to_numpy()))
    assert answers["probability"].mean() > earlier["probability"].mean() + 0.1
    window = ["--since", (NOW - timedelta(days=1)).date().isoformat()]
    window += ["--until", (NOW + timedelta(days=2)).date().isoformat()]
    assert _cli.run(monitor.main, [NAME, "--version", "2", *window]) in (0, monitor.ALARM)
    seen = json.loads(Path("reports/monitoring", NAME, "window.json").read_text())
    assert seen["rows"]["num_rows"] == len(answers)
    assert seen["reference"] == "the validation images of version 2"
    capsys.readouterr()
    _cli.run(
        trace.main, [f"models:/{NAME}@{ALIAS}"]
    )  # the workspace is no repository, so its data are unknown
    assert f"recalibrated for the clinic {CLINIC} from version 1" in capsys.readouterr().out
    who = ["--version", "2", "--by", "A. Name", "--reason", "read"]
    assert _cli.run(release.main, [NAME, *who]) == 1
    assert f"recalibrated for the clinic {CLINIC}" in capsys.readouterr().err
    assert "production" not in aliases()


def test_a_later_promotion_is_not_compared_with_a_clinic(shifted):
    assert run(shifted) == 0
    versions_before = numbers()
    assert ws.run_stage("promote") == 0
    assert (numbers(), aliases()["staging"]) == (versions_before, 1)
    promotion = files.read_json(Path("reports/sample/promotion.json"))
    assert "champion" not in promotion
    assert promotion["anchor_version"] in (None, 1)


def refused(labels: str, capsys, *options: str, clinic: str = CLINIC) -> str:
    """The message of a refusal that registers nothing."""
    before = (numbers(), aliases())
    assert run(labels, *options, clinic=clinic) == 1
    assert (numbers(), aliases()) == before
    assert not Path("reports/recalibration").exists()
    return capsys.readouterr().err


def test_labels_that_are_too_few_are_refused_with_the_missing_number(place, capsys):
    rows = recorded(place)
    labels = labels_of(rows, shift=1.5)
    one_a_group = ~rows["group_key"].duplicated()
    few = write(place, rows[one_a_group][:20], labels[one_a_group][:20])
    said = refused(few, capsys)
    assert "needs 30 labelled groups, has 20: 10 are missing" in said
    assert "pipelines.queue" in said
    negative = write(place, rows, pd.Series("negative", index=rows.index))
    assert "needs 5 labelled groups with a positive image, has 0: 5 are missing" in refused(negative, capsys)
    assert not [entry for entry in ledger.entries(NAME) if entry.kind == ledger.REFUSAL]
    assert run(write(place, rows, labels)) == 0


def test_without_a_draw_or_answers_it_is_refused(place, capsys):
    mlflow.pyfunc.load_model(f"models:/{NAME}/1").predict(images())
    rows = reading.read(place, spool=place / "spool").rows
    path = write(place, rows, labels_of(rows, shift=1.5))
    assert "The audit has drawn among no answers of this version yet" in refused(path, capsys)
    long_ago = ["--until", "2001-01-01"]
    assert "0 rows of melanoma-sample version 1" in refused(path, capsys, *long_ago)
    recorded(place)
    assert run(path) == 0


def test_a_clinic_whose_calibration_is_right_is_refused_with_the_interval(place, capsys):
    rows = recorded(place)
    said = refused(write(place, rows, labels_of(rows, shift=0, slope=0)), capsys)
    assert "recalibration is not shown to help: the cross-fitted gain in log loss is " in said
    (entry,) = [one for one in ledger.entries(NAME) if one.kind == ledger.REFUSAL]
    assert (entry.alias, entry.tags["clinic"], entry.version) == (ALIAS, CLINIC, 1)
    assert "not shown to help" in entry.tags["reason"]


def test_a_gate_that_fails_on_the_clinic_refuses(shifted, capsys):
    ws.change_params(Path("params.yaml"), promote={"min_auc_roc_lower_bound": 0.99})
    said = refused(shifted, capsys)
    assert "the lower end of the interval must be above 0.99" in said
    ws.change_params(Path("params.yaml"), promote={"min_auc_roc_lower_bound": 0.0})
    assert run(shifted) == 0


@pytest.mark.parametrize("clinic", ["North", "-north", "north-", "a b", "nörd", "x" * 61, ""])
def test_a_name_that_cannot_be_an_alias_is_refused(place, clinic, capsys):
    assert "cannot name a clinic: expected 1 to 60 lower-case letters" in refused(
        "none.csv", capsys, clinic=clinic
    )


def test_unknown_and_refused_versions_and_missing_records_are_refused(shifted, capsys):
    assert f"{NAME} has no version 9" in refused(shifted, capsys, "--version", "9")
    assert "is not a folder of records" in refused(shifted, capsys, "--records", "nowhere")
    store = tracking.client()
    store.set_model_version_tag(NAME, "1", "gate", "refused")
    assert "was refused by the gates" in refused(shifted, capsys)
    store.set_model_version_tag(NAME, "1", "gate", "accepted")
    assert run(shifted) == 0


@pytest.mark.parametrize(
    ("column", "change"), [("score", 0.5), ("network_sha256", "another"), ("score", None)]
)
def test_answers_of_another_network_or_without_a_score_are_refused(shifted, place, capsys, column, change):
    (path,) = (place / "spool").glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[:2]:
        line[column] = change
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = refused(shifted, capsys)
    assert "2 of " in said
    assert "score, probability or network is another" in said


def test_a_changed_file_of_the_source_is_refused(shifted, capsys):
    store = tracking.client()
    digest = versions.get_version(NAME, 1).tags[FILES_TAG]
    store.set_model_version_tag(NAME, "1", FILES_TAG, "0" * 64)
    assert "cannot be trusted" in refused(shifted, capsys)
    store.set_model_version_tag(NAME, "1", FILES_TAG, digest)
    assert run(shifted) == 0


def calibration_of(number: int) -> Calibration:
    model = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/{number}"))
    return Settings.read(model / "artifacts" / "settings.json").operating_point.calibration


@pytest.mark.slow
def test_a_real_server_answers_with_the_new_calibration(shifted, own):
    import requests

    assert run(shifted) == 0
    port = clone.free_port()
    uri = f"models:/{NAME}@{ALIAS}"
    command = ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "--port", str(port)]
    settings = {"MLFLOW_TRACKING_URI": f"sqlite:///{own}/mlflow.db"}
    posted = images()[:5]
    by_name = {str(number): encoded for number, encoded in enumerate(posted["image"])}
    with clone.server(own, *command, url=f"http://127.0.0.1:{port}/ping", settings=settings):
        answers = client.score_images(f"http://127.0.0.1:{port}", by_name)
        about = requests.get(f"http://127.0.0.1:{port}/model", timeout=60).json()
    old = mlflow.pyfunc.load_model(f"models:/{NAME}/1").predict(posted)
    calibrations = [calibration_of(number) for number in (1, 2)]
    assert calibrations[0].method == "none"  # the probability of version 1 is the score
    expected = calibrations[1].apply(old["probability"].to_numpy())
    np.testing.assert_allclose([one["probability"] for one in answers], expected, atol=1e-6)
    assert {one["verification"] for one in answers} == {"verified"}
    assert {one["model_version"] for one in answers} == {"2"}
    assert about["verification"] == "verified"
