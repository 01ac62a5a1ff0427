import re
from itertools import combinations

from melanoma import config
from melanoma.page import drawing
from melanoma.page.stages import Stage, read_stages
from tests.imports import ROOT


def stage(name: str, *after: str, loop: str = "") -> Stage:
    return Stage(name, loop, (), "", after, ())


DIAMOND = [stage("a"), stage("b", "a"), stage("c", "a"), stage("d", "b", "c"), stage("e", "a", "d")]


def layers(drawn: drawing.Drawing) -> dict[str, float]:
    return {box.stage.name: (box.y - drawing.MARGIN) / drawing.LAYER_HEIGHT for box in drawn.boxes}


def test_each_stage_lies_below_all_that_it_needs():
    assert layers(drawing.draw(DIAMOND)) == {"a": 0, "b": 1, "c": 1, "d": 2, "e": 3}


def test_there_is_a_line_for_each_need_and_a_dashed_one_where_a_stage_is_off():
    drawn = drawing.draw([stage("a"), stage("b", "a", loop="run.study"), stage("c", "a")])
    assert [line.is_active for line in drawn.lines] == [False, True]


def test_a_chain_is_drawn_straight():
    drawn = drawing.draw([stage("a"), stage("b", "a"), stage("c", "b")])
    assert len({box.x for box in drawn.boxes}) == 1


def test_a_long_line_passes_beside_the_boxes_of_the_layers_between():
    drawn = drawing.draw(DIAMOND)
    boxes = {box.y: [other.x for other in drawn.boxes if other.y == box.y] for box in drawn.boxes}
    passed = [
        (float(x), float(y)) for line in drawn.lines for x, y in re.findall(r"([\d.]+) ([\d.]+) V", line.path)
    ]
    assert len(passed) == 2  # the line from a to e, beside b and c and beside d
    assert all(abs(x - box) > drawing.BOX_WIDTH / 2 for x, y in passed for box in boxes[y])


def test_boxes_of_the_projects_graph_do_not_overlap_and_lie_inside_the_drawing(params):
    stages = read_stages(
        config.read_yaml(ROOT / "dvc.yaml"),
        active={},
        known=sorted({*params.ingest, *params.cohorts}),
        root=ROOT,
    )
    drawn = drawing.draw(stages)
    for one, other in combinations(drawn.boxes, 2):
        assert one.y != other.y or abs(one.x - other.x) >= drawing.BOX_WIDTH
    half = drawing.BOX_WIDTH / 2
    assert all(half <= box.x <= drawn.width - half for box in drawn.boxes)
    assert max(box.y for box in drawn.boxes) + drawing.BOX_HEIGHT < drawn.height
    assert drawing.draw(stages) == drawn
