from typing import Any

import pytest

from melanoma import config
from melanoma.page.graph import Node, layers, read_graph
from tests.imports import ROOT

ACTIVE = {"run.datasets": ["ph2"], "run.cohorts": ["ph2"]}
KNOWN = ["isic", "ph2"]


def read(stages: dict, **options) -> dict[str, Node]:
    settings: dict[str, Any] = {"active": ACTIVE, "known": KNOWN, "root": ROOT} | options
    return {stage.name: stage for stage in read_graph({"stages": stages}, **settings)}


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


def test_the_outputs_of_a_loop_are_those_of_its_active_items():
    body = {"cmd": "x", "outs": ["reports/${item}.json"]}
    found = read(
        {
            "loop": {"foreach": "${run.cohorts}", "do": body},
            "plain": {"cmd": "x", "outs": ["reports/all.json"]},
        }
    )
    assert {name: node.outputs for name, node in found.items()} == {
        "loop": ["reports/ph2.json"],
        "plain": ["reports/all.json"],
    }


def test_a_file_of_parameters_that_a_stage_writes_comes_before_those_that_read_it():
    found = read(
        {
            "b": {"cmd": "b", "params": ["b", {"code.json": ["b"]}]},
            "a": {"cmd": "a", "outs": ["code.json"]},
        }
    )
    assert found["b"].after == ("a",)


def test_each_stage_lies_in_the_row_below_all_that_it_needs():
    def node(name: str, *after: str) -> Node:
        return Node(name, "", (), "", after, ())

    diamond = [node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"), node("e", "a", "d")]
    rows = [[found.name for found in row] for row in layers(diamond)]
    assert rows == [["a"], ["b", "c"], ["d"], ["e"]]
    assert layers([]) == []


def test_a_stage_says_what_its_script_says_of_itself(tmp_path):
    script = tmp_path / "pipelines" / "a.py"
    script.parent.mkdir()
    script.write_text('"""Stage `a`: do one `thing`\nand another.\n\nMore.\n"""\n')
    found = read({"a": {"cmd": "python -m pipelines.a --x"}, "b": {"cmd": "true"}}, root=tmp_path)
    assert found["a"].does == "do one thing and another."
    assert found["b"].does == ""


def test_the_projects_own_graph_is_read_whole_and_the_page_is_last(params):
    definition = config.read_yaml(ROOT / "dvc.yaml")
    found = read_graph(
        definition,
        active={"run.datasets": ["sample"], "run.cohorts": ["sample"]},
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
