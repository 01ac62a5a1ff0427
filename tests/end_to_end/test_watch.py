"""`make watch`: the whole loop after serving, with the real commands and servers, on the small demo."""

import hashlib
import json
import sqlite3
from contextlib import closing

import pytest

from melanoma.errors import DataError
from melanoma.stages import watch
from tests.end_to_end import clone
from tests.pipelines import workspace as ws

pytestmark = pytest.mark.slow
NUM_LESIONS = 110  # a month; 100 labels are needed to recalibrate


@pytest.fixture(scope="module")
def looped(demo_copy, tmp_path_factory):
    """The folder of the copy after the loop, what it said, and the digests of the original's store."""
    out = tmp_path_factory.mktemp("loop") / "watch"
    changed = {name: dict(values) for name, values in watch.CHANGES.items()} | {
        "sample": {"num_lesions": NUM_LESIONS, "num_second_views": 0}
    }
    changed["promote"] = {**changed["promote"], "min_shadow_rows": NUM_LESIONS - 10}
    with pytest.MonkeyPatch.context() as patch, ws.inside(demo_copy):
        for name, value in clone.environment(demo_copy).items():
            patch.setenv(name, value)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(watch, "CHANGES", changed)
        before = digest(demo_copy / "mlflow.db")
        said = watch.run(out)
        assert digest(demo_copy / "mlflow.db") == before
    return out, said


def digest(file):
    with closing(sqlite3.connect(file)) as store:
        return hashlib.sha256("".join(store.iterdump()).encode()).hexdigest()


def window(folder, month):
    return json.loads((folder / f"reports/monitoring/{month}/melanoma-sample/window.json").read_text())


def test_a_new_camera_is_an_alarm_that_names_its_colours(looped):
    folder, _ = looped
    assert any("shifted" in alarm for alarm in window(folder, "camera")["alarms"])
    quiet = window(folder, "quiet")
    assert quiet["rows"]["num_groups"] > 90
    assert quiet["num_labelled_audit"] > 90


def test_all_labels_of_the_audit_count_for_the_sensitivity(looped):
    folder, _ = looped
    subtle = window(folder, "subtle")["sensitivity"]
    assert subtle["num_labelled"] > 270
    assert subtle["low"] <= subtle["estimate"] <= subtle["high"]


def test_the_challenger_is_judged_by_its_answers_in_shadow(looped):
    folder, said = looped
    verdict = json.loads((folder / "reports/sample/promotion.json").read_text())
    assert verdict["shadow"]["num_rows"] > 90
    assert ("was promoted" in said) == verdict["is_promoted"]
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        kinds = [row[0] for row in store.execute("select value from tags where key = 'kind'")]
    assert kinds.count("monitor") == 3
    assert kinds.count("proposal") == 1


def test_the_page_shows_what_is_served_now(looped):
    folder, said = looped
    page = (folder / "reports/index.html").read_text(encoding="utf-8")
    assert "What is served now" in page
    assert "open alarm" in page.lower()
    assert str(folder / "reports/index.html") in said


def test_a_store_elsewhere_is_refused(demo_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(demo_copy)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="copy of the project's own store"):
        watch.run(tmp_path / "watch")
    assert not (tmp_path / "watch").exists()
