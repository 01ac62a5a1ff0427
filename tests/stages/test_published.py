"""The published results agree with each other: page, documents, reports, splits and manifests."""

import json
import re
from typing import Any

import pandas as pd
import pytest
import yaml

from melanoma import config
from melanoma.errors import DataError
from melanoma.evaluation.bootstrap import in_words
from melanoma.page import results
from melanoma.schema import MODEL_NAMES, SPLITS, TEST
from melanoma.stages import publish, published
from tests.imports import ROOT
from tests.page.toys import ORIGIN, headline

FOLDER = ROOT / "reports/published"
COHORTS = sorted(path.stem for path in (FOLDER / "headlines").glob("*.json"))
DATASETS = sorted(path.stem for path in (FOLDER / "raw").glob("*.csv"))
ROW = re.compile(
    r'<th scope="row" data-label="model">([^<]+)</th>\s*<td data-label="AUC" class="number">([^<]+)</td>'
)
REDRAW = "run `python -m pipelines.publish --redraw`"
# Results of earlier versions, moved as they were; a run of one commit replaces them.
KNOWN_DIRTY = {
    *(f"study/results/{cohort}.json" for cohort in COHORTS),
    *(f"study/transfer/{dataset}.json" for dataset in DATASETS),
    "study/compare/page.md",
}


def read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / path).read_text(encoding="utf-8"))
    return content


# ---- page and documents ----------------------------------------------------------------------


def test_results_of_real_images_are_published():
    assert "isic" in COHORTS
    assert "isic" in DATASETS


def test_the_page_equals_a_page_that_is_drawn_again_from_the_published_files():
    page = (FOLDER / published.PAGE).read_text(encoding="utf-8")
    assert page == published.draw(FOLDER, config.load(ROOT / "params.yaml")), REDRAW


def test_the_tables_of_the_documents_equal_the_published_results():
    texts = {path: path.read_text(encoding="utf-8") for path in published.documents()}
    assert "<!-- published: results -->" in texts[ROOT / "README.md"]
    assert [path for path, text in texts.items() if published.fill(text, FOLDER) != text] == [], REDRAW


def expected_aucs(cohort: str) -> dict[str, str]:
    """The rows of the cohort's table of AUCs, from the reports of `evaluate` and `audit`."""
    metrics, audit = read(f"{cohort}/metrics.json"), read(f"{cohort}/audit.json")
    found = {model: metrics[model][TEST]["auc_roc"] for model in MODEL_NAMES}
    found |= {name: entry["auc_roc"] for name, entry in audit["references"].items()}
    selected = metrics["selected"]
    return {
        results.NAMES[name] + (" (selected)" if name == selected else ""): in_words(entry)
        for name, entry in found.items()
    }


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_page_shows_the_aucs_of_the_reports(cohort):
    page = (FOLDER / published.PAGE).read_text(encoding="utf-8")
    caption = f"<caption><span>AUC of {cohort} on the test set, with 95 % intervals</span></caption>"
    table = page.split(caption, maxsplit=1)[1].split("</table>", maxsplit=1)[0]
    assert dict(ROW.findall(table)) == expected_aucs(cohort)


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_headline_agrees_with_the_reports(cohort):
    found = read(f"headlines/{cohort}.json")
    metrics, audit = read(f"{cohort}/metrics.json"), read(f"{cohort}/audit.json")
    for model in MODEL_NAMES:
        shown = found["metrics"][model]
        assert shown == {name: metrics[model][TEST][name] for name in shown}
    for name, shown in found["references"].items():
        assert shown == {key: audit["references"][name][key] for key in shown}
    assert found["warnings"] == audit["warnings"]
    assert found["selected"] == metrics["selected"]


def test_no_result_was_made_with_uncommitted_changes_but_those_of_earlier_versions():
    dirty = {
        path.relative_to(FOLDER).as_posix()
        for path in FOLDER.rglob("*")
        if path.suffix in {".json", ".md"} and path.parent != FOLDER
        if list(publish.dirty_files([path])) or "with changes" in path.read_text(encoding="utf-8")
    }
    assert dirty == (KNOWN_DIRTY if read("origin.json").get("is_earlier_version") else set())


def test_parameters_code_and_lock_of_the_results_are_published_with_them():
    if not read("origin.json").get("is_earlier_version"):
        assert all((FOLDER / name).is_file() for name in publish.INPUTS)


def test_only_figures_of_data_cards_and_study_are_published_and_no_picture_of_an_image():
    pictures = [path.relative_to(FOLDER) for path in FOLDER.rglob("*.png")]
    assert {path.parts[0] for path in pictures} <= {"data", "study"}
    suffixes = {path.suffix for path in FOLDER.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".csv", ".md", ".png", ".html", ".txt", ".yaml", ".lock"}
    assert not list(FOLDER.rglob("*.dvc")), "DVC would take them for its own"


# ---- splits and manifests --------------------------------------------------------------------


@pytest.mark.parametrize("cohort", COHORTS)
def test_no_group_crosses_a_published_split(cohort):
    split = pd.read_csv(FOLDER / f"splits/{cohort}.csv", dtype=str)
    assert list(split.columns) == publish.SPLIT_COLUMNS
    assert split["image_id"].is_unique
    assert split[["group_id", "split"]].drop_duplicates()["group_id"].is_unique
    assert set(split["split"]) == set(SPLITS)
    test = split[split["split"] == TEST]
    found = read(f"headlines/{cohort}.json")
    assert (len(test), test["group_id"].nunique()) == (found["num_images"], found["num_groups"])


def test_an_image_has_the_same_split_in_every_cohort():
    splits = pd.concat(pd.read_csv(FOLDER / f"splits/{cohort}.csv", dtype=str) for cohort in COHORTS)
    assert splits[["image_id", "split"]].drop_duplicates()["image_id"].is_unique


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_manifest_agrees_with_the_pointer_of_dvc(dataset):
    files = pd.read_csv(FOLDER / f"raw/{dataset}.csv")
    (pointer,) = yaml.safe_load((FOLDER / f"raw/{dataset}.dvc.txt").read_text())["outs"]
    assert (len(files), files["bytes"].sum()) == (pointer["nfiles"], pointer["size"])
    assert files["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert published.read_origin(FOLDER).raw_digests[dataset] == pointer["md5"]


# ---- how it is drawn -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    published.write_origin(ORIGIN, tmp_path, {"is_earlier_version": True})
    (tmp_path / "headlines").mkdir()
    (tmp_path / "headlines/ph2.json").write_text(json.dumps(headline()))
    (tmp_path / "toy.csv").write_text("model,AUC\nours,0.75\n")
    return tmp_path


def test_an_origin_is_read_as_it_was_written(folder):
    assert published.read_origin(folder) == ORIGIN


def test_a_block_is_filled_and_the_text_around_it_stays(folder):
    text = "before\n<!-- published: toy.csv -->\nold\n<!-- /published -->\nafter\n"
    filled = published.fill(text, folder)
    assert filled == (
        "before\n<!-- published: toy.csv -->\n| model | AUC |\n| --- | --- |\n| ours | 0.75 |\n"
        "<!-- /published -->\nafter\n"
    )
    assert published.fill(filled, folder) == filled


def test_the_table_of_results_has_a_row_for_each_cohort_and_marks_synthetic_ones():
    table = published.results_table([headline("ph2"), headline("sample", is_synthetic=True)])
    lines = table.splitlines()
    assert lines[2].startswith("| ph2 | 1040 (8) | 0.750 (0.650 to 0.850) | 0.700 (0.600 to 0.800) | 0.800")
    assert lines[2].endswith("| baseline | 0.500 (0.400 to 0.600) | 0.500 (0.400 to 0.600) | refused |")
    assert lines[3].startswith("| sample (SYNTHETIC) |")


def test_results_with_a_missing_figure_are_not_drawn(folder, params):
    (folder / "study/compare").mkdir(parents=True)
    (folder / "study/compare/captions.json").write_text('{"gone.png": "Gone"}')
    with pytest.raises(DataError, match=r"must be complete; missing: .*gone\.png"):
        published.draw(folder, params)
