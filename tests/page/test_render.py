import re
from dataclasses import replace
from pathlib import Path

import pytest

from melanoma.errors import DataError
from melanoma.page import render
from melanoma.page.study import Part
from tests.page.toys import MODEL, OLDER_POINT, contents, headline

HOSTILE = "<script>alert('x')</script>"


def page(max_megabytes: float = 4.0, **changes) -> str:
    return render.render(contents(**changes), max_megabytes=max_megabytes)


def test_results_stand_there_with_intervals_verdict_and_reasons():
    text = page()
    assert "0.750 (0.650 to 0.850)" in text
    assert "colours alone" in text
    assert "melanoma-ph2 version 3 was refused: AUC below that of the colours. Version 2 has" in text
    assert "The selected model is the baseline network. Tested" in text
    assert "Tested on 1,040 real images in 38 groups, 8 of them positive, it has an AUC of 0.750" in text
    assert "Results of a test. Results and registry as of 2026-05-19 08:00 UTC." in text
    assert "not a medical device" in text.lower()
    assert "SYNTHETIC" not in text


def test_synthetic_results_are_labelled_at_the_head_and_at_the_cohort():
    text = page(headlines=[headline("sample", is_synthetic=True), headline("ph2")])
    assert text.count(">SYNTHETIC<") == 2
    assert "The images of sample are synthetic: a program drew them" in text


def test_several_cohorts_stand_in_one_table_first_and_one_alone_does_not():
    text = page(headlines=[headline("isic"), headline("ph2", selected="tuned")])
    words = re.sub(r"<[^>]+>", " ", text)
    assert re.search(
        r"ph2\s+real\s+0\.750 \(0\.650 to 0\.850\)\s+0\.700 \(0\.600 to 0\.800\)\s+0\.800", words
    )
    assert "All cohorts:" in text
    assert "All cohorts:" not in page()


def test_aliases_stand_there_with_version_date_and_who_moved_them():
    text = re.sub(r"<[^>]+>", " ", page())
    assert re.search(r"staging\s+2\s+2026-05-17 10:05 UTC\s+A\. Name\s+promote\s+passed 5 gates", text)
    assert re.search(r"challenger\s+3\s+-\s+not in the ledger", text)


def served(text):
    """The section in words."""
    section = text[text.index('<section id="served"') : text.index('<section id="pipeline"')]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", section))


def test_what_is_served_stands_there_with_windows_and_open_alarms_only():
    text = page()
    words = served(text)
    assert "staging 2 2026-05-17 10:05 UTC real" in words
    assert "challenger" not in words
    assert "Open alarm: version 2, 2026-06-01 to 2026-07-01: the answers are shifted" in words
    assert words.count("Open alarm") == 1
    first, second = (words.index(f"2 {days} ") for days in ("2026-06-01 2026-07-01", "2026-05-01 2026-06-01"))
    assert first < second
    assert "120 3 0.001 0.900 (0.800 to 0.950) intercept 0.100 (-0.200 to 0.400), slope 1.000" in words
    assert '<p class="verdict bad">Open alarm' in text
    assert "not a medical device" in words.lower()
    assert "SYNTHETIC" not in words


def test_an_alarm_of_a_version_that_is_no_longer_served_is_not_open():
    windows = [*MODEL.windows, replace(MODEL.windows[-1], version=3)]
    assert served(page(origin={"models": {"ph2": replace(MODEL, windows=windows)}})).count("Open alarm") == 1
    later = [*MODEL.windows, replace(MODEL.windows[-1], since="2026-07-01", alarms=())]
    assert "Open alarm" not in served(page(origin={"models": {"ph2": replace(MODEL, windows=later)}}))


def test_a_model_that_was_never_monitored_says_how_to():
    words = served(page(origin={"models": {"ph2": replace(MODEL, windows=[])}}))
    assert "No window was monitored yet: run python -m pipelines.monitor melanoma-ph2 --records" in words
    assert "No model is registered" in served(page(origin={"models": {"ph2": None}}))
    words = served(page(origin={"models": {"ph2": replace(MODEL, holders=[])}}))
    assert "No version has an alias under which it is served" in words


def test_a_served_model_of_synthetic_images_is_labelled():
    synthetic = [replace(version, is_synthetic=True) for version in MODEL.versions]
    words = served(page(origin={"models": {"ph2": replace(MODEL, versions=synthetic)}}))
    assert "melanoma-ph2 SYNTHETIC" in words
    assert "2026-05-17 10:05 UTC synthetic" in words


def test_a_cohort_without_a_registered_model_says_so():
    assert "The registry holds no model of ph2." in page(origin={"models": {"ph2": None}})


def test_each_cohort_shows_what_was_asked_of_its_operating_point_and_what_it_got():
    text = page()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    assert "Operating point of ph2: asked and got. Warnings: 1" in words
    assert "sensitivity at the threshold 0.200 0.95 1.000 (8 of 8 groups) 0.875" in words
    assert "0.688 59 (93 with one miss)" in words
    assert "<li>the referral band was narrowed</li>" in text
    assert "Not guaranteed is the specificity at the end of the referral band: it was narrowed." in text


def test_results_by_skin_tone_say_that_it_is_estimated_and_which_are_too_few():
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page()))
    assert "Test set of ph2 by skin, with 95 % intervals. Skin tone is estimated from pixels" in words
    assert "skin tone: estimated from pixels: 2 light 30 4 0.700 (0.600 to 0.800)" in words
    assert "undefined: fewer than 10 groups" in words
    older = headline()
    del older["skin"]
    assert "by skin, with" not in page(headlines=[older])


def test_a_headline_of_an_older_version_says_what_was_not_recorded():
    older = headline(operating_point=OLDER_POINT)
    del older["at_operating_point"]
    text = page(headlines=[older])
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    assert "sensitivity at the threshold 0.200 not recorded not recorded not recorded" in words
    assert "<li>the band was narrowed</li>" in text
    assert "was not recorded." in text


def test_without_a_study_the_page_has_no_such_section():
    part = Part("compare", [], [], [], [])
    assert '<a href="#study">' in page(study=[part])
    assert "study" not in page()


def test_what_is_missing_is_named_and_where_nothing_is_there_is_no_such_section():
    text = page(missing=["reports/data/ph2.md; it is written by dvc repro card"])
    assert "<li>reports/data/ph2.md; it is written by dvc repro card</li>" in text
    assert '<a href="#missing">' in text
    assert "Missing files" not in page()


def test_hostile_words_of_any_report_are_only_shown():
    found = headline(warnings=[HOSTILE], seeds=HOSTILE)
    found["promotion"] = found["promotion"] | {"reasons": [HOSTILE]}
    text = page(headlines=[found], missing=[HOSTILE], origin={"commands": HOSTILE, "results_at": HOSTILE})
    assert HOSTILE not in text
    assert text.count("<script>") == 1
    assert text.count("&lt;script&gt;") >= 5


def test_the_page_asks_for_nothing_outside_itself():
    text = page()
    assert "default-src 'none'" in text
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", text)
    assert "@import" not in text
    assert "url(" not in text


def test_a_page_above_the_bound_is_refused_with_its_size_and_one_below_is_not():
    size = len(page().encode()) / render.MEGABYTE
    with pytest.raises(
        DataError, match=rf"would have {size:.2f} megabytes, more than page.max_megabytes 0.01"
    ):
        page(max_megabytes=0.01)
    page(max_megabytes=size)


def test_a_page_without_any_result_says_how_to_make_them():
    text = page(headlines=[], origin={"models": {}, "graph": []})
    assert "There are no results yet. <code>dvc repro</code> makes them." in text


@pytest.mark.parametrize(("version", "is_served"), [(2, True), (None, False)])
def test_it_says_how_to_serve_a_model_and_where_there_is_none_to_serve(version, is_served):
    found = headline()
    text = page(headlines=[found | {"promotion": found["promotion"] | {"staging_version": version}}])
    assert ("make serve COHORT=ph2" in text) == is_served
    assert ("No version of ph2 has the alias staging, so there is nothing to serve." in text) != is_served


def test_the_script_and_the_style_are_files_of_the_package():
    folder = Path(render.__file__).parent / render.FOLDER
    assert {path.name for path in folder.iterdir()} == {
        "index.html.j2",
        "parts.html.j2",
        "page.css",
        "page.js",
    }
