import json
from pathlib import Path

import pytest

from melanoma.errors import DataError
from melanoma.stages import published, published_parts
from tests.page.toys import ORIGIN

RAW = {"isic": "a", "ph2": "b"}


@pytest.fixture
def folder(tmp_path, monkeypatch, params):
    """Published results of the cohort isic, with the code and parameters of the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("code.json").write_text(json.dumps({"train": "1", "page": "2", "parts": {"a": "3"}}))
    Path("params.yaml").write_text("train: {seed: 1, num_epochs: 5}  # comment\n")
    folder = tmp_path / "published"
    folder.mkdir()
    for name in published_parts.SAME:
        (folder / name).write_bytes(Path(name).read_bytes())
    active = params.model_copy(update={"run": params.run.model_copy(update={"cohorts": ["isic", "ph2"]})})
    origin = published_parts.merged(
        active, None, ORIGIN.__class__(**vars(ORIGIN) | {"raw_digests": RAW}), ["isic"], datasets=["isic"]
    )
    published.write_origin(origin, folder, {})
    return folder


def test_an_equal_state_may_be_added_and_the_rest_is_not_run(folder):
    origin = published_parts.before(folder, ["ph2"], RAW)
    assert list(origin.parts) == ["isic"]
    assert origin.raw_digests == {"isic": "a"}
    assert origin.not_run == ["ph2", "study"]


def test_into_an_empty_folder_anything_may_be_published(folder, tmp_path):
    assert published_parts.before(tmp_path / "new", ["ph2"], RAW) is None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "code.json",
            '{"train": "9", "page": "2", "new": "1"}',
            "code.json differs in the stages new, train",
        ),
        (
            "params.yaml",
            "train: {seed: 1, num_epochs: 6}",
            "params.yaml differs in the keys train.num_epochs",
        ),
        ("params.yaml", "train: {seed: 1, num_epochs: 5}", "params.yaml has the same keys and another text"),
    ],
)
def test_other_code_or_parameters_are_refused_unless_nothing_of_them_stays(folder, name, text, words):
    Path(name).write_text(text)
    with pytest.raises(DataError, match=f"ph2 cannot be added to the published results of isic: {words}"):
        published_parts.before(folder, ["ph2"], RAW)
    assert published_parts.before(folder, ["isic", "ph2"], RAW) is None


def test_other_raw_images_of_a_published_dataset_are_refused_and_new_datasets_are_not(folder):
    with pytest.raises(DataError, match="the raw images of isic have changed"):
        published_parts.before(folder, ["ph2"], RAW | {"isic": "z"})
    assert published_parts.before(folder, ["ph2"], RAW | {"ham10000": "z"}) is not None


def test_results_of_an_earlier_version_are_never_mixed_with_new_ones(folder):
    published.write_origin(ORIGIN, folder, {"is_earlier_version": True})
    with pytest.raises(DataError, match=r"earlier version, without digests.*--replace"):
        published_parts.before(folder, ["ph2"], RAW)


def test_a_table_of_the_study_that_was_not_run_says_so_and_a_missing_one_is_an_error(folder):
    text = "<!-- published: study/compare/x.csv -->\nold\n<!-- /published -->\n"
    assert "\nnot run\n" in published.fill(text, folder)
    with pytest.raises(DataError, match="does not exist"):
        published.fill(text.replace("study/", "other/"), folder)
