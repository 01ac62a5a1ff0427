from typing import Any

import pytest

from melanoma import config
from melanoma.page.stages import Stage, read_stages
from tests.imports import ROOT

ACTIVE = {"run.datasets": ["ph2"], "run.cohorts": ["ph2"], "run.study": []}
KNOWN = ["isic", "ph2"]


def read(stages: dict, **options) -> dict[str, Stage]:
    settings: dict[str, Any] = {"active": ACTIVE, "known": KNOWN, "root": ROOT} | options
    return {stage.name: stage for stage in read_stages({"stages": stages}, **settings)}


def test_a_stage_follows_those_whose_outputs_it_needs_directly():
    found = read(
        {
            "c": {"cmd": "c", "deps": ["data/b", "data/a.csv"], "outs": [{"reports/c": {"cache": False}}]},
            "b": {"cmd": "b", "deps": ["data/a.csv"], "outs": ["data/b"]},
            "a": {"cmd": "a", "metrics": ["data/a.csv"]},
            "d": {"cmd": "d", "deps": ["data/elsewhere"]},
        }
    )
    assert {name: stage.after for name, stage in found.items()} == {
        "a": (),
        "d": (),
        "b": ("a",),
        "c": ("b",),
    }
    assert found["c"].writes == ("reports/c",)


@pytest.mark.parametrize(
    ("out", "dep", "meets"),
    [
        ("data/a/${item}.csv", "data/a", True),
        ("data/a", "data/a/${item}.csv", True),
        ("data/a/${item}.csv", "data/a/${item}.csv", True),
        ("data/a/${item}.csv", "data/ab", False),
        ("reports/${item}/a.json", "reports/data", False),
        ("reports/${item}/a.json", "reports/ph2", True),
    ],
)
def test_an_item_stands_for_datasets_and_cohorts_and_for_no_other_folder(out, dep, meets):
    loop = {"foreach": "${run.cohorts}", "do": {"cmd": "a", "outs": [out]}}
    found = read({"a": loop, "b": {"cmd": "b", "deps": [dep]}})
    assert found["b"].after == (("a",) if meets else ())


def test_a_loop_runs_for_its_active_items_and_is_off_without():
    body = {"cmd": "x", "outs": ["reports/${item}.json"]}
    found = read(
        {
            "on": {"foreach": "${run.cohorts}", "do": body},
            "off": {"foreach": "${run.study}", "do": body},
            "plain": {"cmd": "x", "outs": ["reports/all.json"]},
        }
    )
    assert {name: stage.is_active for name, stage in found.items()} == {
        "on": True,
        "off": False,
        "plain": True,
    }
    assert {name: stage.expand(stage.writes[0]) for name, stage in found.items()} == {
        "on": ["reports/ph2.json"],
        "off": [],
        "plain": ["reports/all.json"],
    }


def test_a_stage_says_what_its_script_says_of_itself(tmp_path):
    script = tmp_path / "pipelines" / "a.py"
    script.parent.mkdir()
    script.write_text('"""Stage `a`: do one `thing`\nand another.\n\nMore.\n"""\n')
    found = read({"a": {"cmd": "python -m pipelines.a --x"}, "b": {"cmd": "true"}}, root=tmp_path)
    assert found["a"].does == "do one thing and another."
    assert found["b"].does == ""


def test_the_projects_own_graph_is_read_whole_and_the_page_is_last(params):
    definition = config.read_yaml(ROOT / "dvc.yaml")
    found = read_stages(
        definition,
        active={"run.datasets": ["sample"], "run.cohorts": ["sample"], "run.study": []},
        known=sorted({*params.ingest, *params.cohorts}),
        root=ROOT,
    )
    by_name = {stage.name: stage for stage in found}
    assert set(by_name) == set(definition["stages"])
    assert found[-1].name == "page"
    assert by_name["train"].after == ("tune",)
    assert {"card", "promote"} <= set(by_name["page"].after)
    assert "validate" in by_name["assign"].after
    assert all(stage.does for stage in found)
    assert not by_name["study"].is_active
