"""Which answers in shadow count for a promotion, and which labels of them."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from melanoma.errors import TrackingError
from melanoma.monitoring import audit_draws
from melanoma.serving.records import RECORDS_KEY, RECORDS_SPOOL
from melanoma.stages import shadow_rows
from tests.monitoring.test_records import line
from tests.monitoring.test_shadows import shadow

CHAMPION, CHALLENGER = (SimpleNamespace(name="melanoma-sample", version=number) for number in ("3", "4"))
KEY = "k" * 32


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of records, gates that ask for it, and a function that loads what counts."""
    monkeypatch.delenv(RECORDS_SPOOL, raising=False)
    monkeypatch.setenv(RECORDS_KEY, KEY)
    place = tmp_path / "records"
    (place / "spool").mkdir(parents=True)
    labels = tmp_path / "labels.csv"

    def write(*lines):
        (place / "spool" / "20260501T000000-1-a.jsonl").write_bytes(b"".join(lines))

    def label(**labels_by_id):
        rows = [f"{name},{value}" for name, value in labels_by_id.items()]
        labels.write_text("\n".join(["prediction_id,label", *rows]) + "\n")

    def load(champion=CHAMPION, challenger=CHALLENGER, **changes):
        given = {"min_shadow_rows": 2, "shadow_records": str(place), "shadow_labels": []}
        if labels.exists():
            given["shadow_labels"] = [str(labels)]
        rules: Any = SimpleNamespace(**(given | changes))
        return shadow_rows.load(rules, challenger, champion, cohort="sample")

    return SimpleNamespace(place=place, write=write, label=label, load=load)


def both(name, **changes):
    """An answer of the champion and what the challenger said of the same image."""
    return line(name, group_key=f"group of {name}") + shadow(name, group_key=f"group of {name}", **changes)


def test_images_that_both_answered_count(site):
    site.write(both("a"), both("b", decision="negative", probability=0.5), line("c"))
    found = site.load()
    assert found.champion.tolist() == [0.25, 0.25]
    assert found.challenger.tolist() == [0.75, 0.5]
    assert found.differs.tolist() == [True, False]
    assert found.group_ids.tolist() == ["group of a", "group of b"]
    assert np.isnan(found.target).all()
    assert found.problems == []


@pytest.mark.parametrize(
    "other",
    [
        line("x", model_version="2") + shadow("x"),
        line("x", model_name="melanoma-isic") + shadow("x"),
        both("x", model_version="5"),
        both("x", model_name="melanoma-isic"),
        line("x"),
        line("x", refusal="truncated", score=None, decision=None),
    ],
    ids=["another champion", "another model", "another challenger", "its model", "alone", "refused"],
)
def test_answers_of_other_versions_do_not_count(site, other):
    site.write(both("a"), other)
    assert len(site.load().champion) == 1


def test_an_image_that_is_posted_again_counts_once_with_its_label(site):
    site.write(*(both(name, image_sha256="x").replace(b"digest of b", b"digest of a") for name in "ab"))
    site.label(b="positive")
    found = site.load()
    assert found.target.tolist() == [1]


def test_an_image_without_a_group_is_its_own_group(site):
    site.write(line("a", group_key=None) + shadow("a", group_key=None))
    assert site.load().group_ids.tolist() == ["digest of a"]


@pytest.mark.parametrize(
    "given",
    [{"champion": None}, {"champion": CHALLENGER}, {"min_shadow_rows": None}],
    ids=["no champion", "the champion itself", "off"],
)
def test_nothing_is_loaded_without_two_versions_to_compare(site, given):
    site.write(both("a"))
    assert site.load(**given) is None
    assert site.load() is not None


def test_before_a_server_has_written_there_are_no_rows_but_instructions(site, tmp_path):
    place = str(tmp_path / "not" / "yet")
    found = site.load(shadow_records=place)
    assert len(found.champion) == 0
    assert found.how_to_get_more == (
        "Serve models:/melanoma-sample@staging with MELANOMA_SHADOW=models:/melanoma-sample@challenger and "
        f"MELANOMA_RECORDS={place}, then run `dvc repro --force --single-item promote@sample`"
    )


def test_what_was_left_out_is_told(site):
    site.write(both("a"), shadow("lost"))
    site.label(a="positive", nobody="negative")
    assert site.load().problems == [
        "1 labels of images without an answer: labels.csv:3",
        "1 shadow lines without their answer",
    ]


# ---- labels ----------------------------------------------------------------------------------


def draw(site, **is_drawn):
    """Draws of the audit, all with one probability that takes every group."""
    rows = [
        {
            "model_name": "melanoma-sample",
            "group": f"group of {name}",
            "time": pd.Timestamp("2026-05-01", tz="UTC"),
            "prediction_id": name,
            "model_version": "3",
            "probability_drawn": 1.0 if drawn else 0.0,
            "is_drawn": drawn,
        }
        for name, drawn in is_drawn.items()
    ]
    audit_draws.write(pd.DataFrame(rows), site.place, datetime(2026, 5, 2, tzinfo=UTC))


def test_without_an_audit_all_labels_count(site):
    site.write(both("a"), both("b"), both("c"))
    site.label(a="positive", b="negative")
    np.testing.assert_array_equal(np.sort(site.load().target), [0, 1, np.nan])


def test_with_an_audit_only_labels_of_the_audit_count(site):
    names = [f"n{number}" for number in range(200)]
    site.write(*map(both, names))
    site.label(**dict.fromkeys(names, "positive"))
    number = {name: audit_draws.number_of(f"group of {name}", KEY.encode()) for name in names}
    rows = pd.DataFrame(
        {
            "model_name": "melanoma-sample",
            "group": [f"group of {name}" for name in names],
            "time": pd.Timestamp("2026-05-01", tz="UTC"),
            "prediction_id": names,
            "model_version": "3",
            "probability_drawn": [0.25 if name < "n15" else 0.5 for name in names],
        }
    )
    rows["is_drawn"] = [number[name] < p for name, p in zip(names, rows["probability_drawn"], strict=True)]
    audit_draws.write(rows, site.place, datetime(2026, 5, 2, tzinfo=UTC))
    found = site.load()
    # As if all had been drawn with the smaller probability.
    counted = set(found.group_ids[np.isfinite(found.target)])
    assert counted == {f"group of {name}" for name in names if number[name] < 0.25}
    assert 20 < len(counted) < 80


def test_an_audit_needs_the_key_that_drew_it(site, monkeypatch):
    site.write(both("a"))
    site.label(a="positive")
    draw(site, a=True)
    assert site.load().target.tolist() == [1]
    monkeypatch.delenv(RECORDS_KEY)
    with pytest.raises(TrackingError, match=RECORDS_KEY):
        site.load()
