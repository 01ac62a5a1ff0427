import json

import pytest

from melanoma.errors import DataError
from melanoma.page import study
from tests.page.toys import WIDTH, draw_picture


@pytest.fixture
def folder(tmp_path):
    """Two stages of a study, one with a folder for each of two cohorts."""
    compare, crops = tmp_path / "compare", tmp_path / "crops"
    draw_picture(compare / "roc.png")
    (compare / "table_2.csv").write_text("cohort,accuracy\nph2,0.925\n")
    (compare / "raw.csv").write_text("epoch,loss\n1,0.5\n")
    (compare / "page.md").write_text("# What holds\n\nThe protocol adds 0.2.\n")
    write_captions(
        compare, {"roc.png": {"caption": "ROC", "alt": "A curve"}, "table_2.csv": {"caption": "Table II"}}
    )
    for cohort in ("isic", "ph2"):
        draw_picture(crops / cohort / "gain.png")
        write_captions(crops / cohort, {"gain.png": f"Gain on {cohort}"})
    return tmp_path


def write_captions(folder, content) -> None:
    (folder / "captions.json").write_text(json.dumps(content))


def test_tables_pictures_and_pages_come_with_their_captions(folder):
    compare = study.gather(folder, max_width=WIDTH)[0]
    assert compare.title == "Are the printed figures confirmed? (compare)"
    assert [table.caption for table in compare.tables] == ["Table II"]  # a table without caption is raw data
    assert [(picture.caption, picture.alt) for picture in compare.pictures] == [("ROC", "A curve")]
    assert [document.title for document in compare.documents] == ["What holds"]
    assert compare.missing == []


def test_a_caption_alone_is_also_what_is_read_out(folder):
    (part,) = [part for part in study.gather(folder, max_width=WIDTH) if part.title.endswith("(crops, isic)")]
    assert (part.pictures[0].caption, part.pictures[0].alt) == ("Gain on isic", "Gain on isic")


def test_the_comparison_comes_first_and_each_cohort_has_a_part(folder):
    assert [part.title for part in study.gather(folder, max_width=WIDTH)] == [
        "Are the printed figures confirmed? (compare)",
        "Does cropping to the lesion help? (crops, isic)",
        "Does cropping to the lesion help? (crops, ph2)",
    ]


def test_a_folder_that_does_not_exist_or_begins_with_a_dot_has_no_part(folder):
    assert study.gather(folder / "none", max_width=WIDTH) == []
    (folder / "crops").rename(folder / ".crops")
    assert len(study.gather(folder, max_width=WIDTH)) == 1


def test_a_stage_whose_question_is_not_known_is_named(folder):
    (folder / "crops").rename(folder / "colours")
    assert [part.title for part in study.gather(folder, max_width=WIDTH)][1:] == [
        "colours, isic",
        "colours, ph2",
    ]


def test_what_is_named_and_not_there_and_what_has_no_caption_is_named(folder):
    draw_picture(folder / "crops" / "ph2" / "bare.png")
    write_captions(folder / "crops" / "ph2", {"gone.csv": "Gone"})
    (part,) = [part for part in study.gather(folder, max_width=WIDTH) if part.title.endswith("(crops, ph2)")]
    place = folder / "crops" / "ph2"
    assert part.missing == [
        f"{place / 'gone.csv'}, which captions.json names",
        f"a caption of {place / 'bare.png'} in {place / 'captions.json'}; so it is not shown",
        f"a caption of {place / 'gain.png'} in {place / 'captions.json'}; so it is not shown",
    ]


def test_a_picture_that_a_page_shows_is_not_shown_twice(folder):
    (folder / "compare" / "page.md").write_text("![short](<roc.png>)\n")
    compare = study.gather(folder, max_width=WIDTH)[0]
    assert compare.pictures == []
    assert compare.documents[0].pieces[0].pictures[0].alt == "A curve"


@pytest.mark.parametrize(
    "captions",
    [{"a.png": 3}, {"a.png": {"alt": "x"}}, {"a.png": {"caption": 1}}, {"../a.png": "x"}, {"b/a.png": "x"}],
)
def test_captions_of_another_form_are_refused_with_the_form_that_is_wanted(folder, captions):
    write_captions(folder / "compare", captions)
    with pytest.raises(
        DataError,
        match=r'captions\.json: each file of this folder needs \{"caption": "\.\.\.", "alt": "\.\.\."\}',
    ):
        study.gather(folder, max_width=WIDTH)
