"""Where boxes and lines of the graph lie: layers from top to bottom, each stage below all that it needs.

The method is that of Sugiyama, Tagawa and Toda (1981): layers, an order in each of them with few crossings,
places. A line that passes layers goes through an empty place in each, so that it crosses no box.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from melanoma.page.stages import Stage

BOX_WIDTH, BOX_HEIGHT = 116, 44
GAP, LAYER_HEIGHT, MARGIN = 16, 78, 10
LANE = 10  # width of the empty place of a line
NUM_SWEEPS = 12  # of the order
NUM_PULLS = 200  # of the places, until lines are nearly straight

Place = tuple[str, int]  # a stage in its layer, or a line in a layer that it passes
Links = dict[Place, list[Place]]


@dataclass(frozen=True)
class Box:
    """A stage, by the middle of its upper edge, in units of the drawing."""

    stage: Stage
    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """From a stage to one that needs it.

    Attributes:
        path: For the attribute `d` of an SVG path.
        is_active: Whether both stages run.
    """

    path: str
    is_active: bool


@dataclass(frozen=True)
class Drawing:
    """The whole graph."""

    boxes: list[Box]
    lines: list[Line]
    width: float
    height: float


def draw(stages: Sequence[Stage]) -> Drawing:
    """Place all stages; the same stages are always placed alike."""
    layer = _layers(stages)
    routes = [_route(need, stage.name, layer) for stage in stages for need in stage.after]
    above, below = _links(routes)
    rows = _rows(stages, layer, routes)
    for sweep in range(NUM_SWEEPS):
        _sort(rows if sweep % 2 == 0 else rows[::-1], above if sweep % 2 == 0 else below)
    x = _spread(rows, above, below)
    left = min(x[place] - _width(place) / 2 for row in rows for place in row) - MARGIN
    x = {place: round(value - left, 1) for place, value in x.items()}
    right = max(x[place] + _width(place) / 2 for row in rows for place in row) + MARGIN
    by_name = {stage.name: stage for stage in stages}
    return Drawing(
        boxes=[Box(by_name[name], x[name, at], _top(at)) for name, at in layer.items()],
        lines=[
            Line(_path(route, x), by_name[route[0][0]].is_active and by_name[route[-1][0]].is_active)
            for route in routes
        ],
        width=round(right, 1),
        height=_top(len(rows) - 1) + BOX_HEIGHT + MARGIN,
    )


def _layers(stages: Sequence[Stage]) -> dict[str, int]:
    """The number of each stage's layer: one below the lowest that it needs."""
    layer: dict[str, int] = {}
    for stage in stages:
        layer[stage.name] = max((layer[need] + 1 for need in stage.after), default=0)
    return layer


def _route(source: str, target: str, layer: Mapping[str, int]) -> list[Place]:
    between = range(layer[source] + 1, layer[target])
    lane = f"{source}>{target}"
    return [(source, layer[source]), *((lane, at) for at in between), (target, layer[target])]


def _links(routes: Sequence[Sequence[Place]]) -> tuple[Links, Links]:
    above: Links = {}
    below: Links = {}
    for route in routes:
        for upper, lower in pairwise(route):
            below.setdefault(upper, []).append(lower)
            above.setdefault(lower, []).append(upper)
    return above, below


def _rows(
    stages: Sequence[Stage], layer: Mapping[str, int], routes: Sequence[Sequence[Place]]
) -> list[list[Place]]:
    rows: list[list[Place]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for stage in stages:
        rows[layer[stage.name]].append((stage.name, layer[stage.name]))
    for route in routes:
        for place in route[1:-1]:
            rows[place[1]].append(place)
    return rows


def _sort(rows: Sequence[list[Place]], links: Links) -> None:
    """Order each row by where its neighbours of the row before lie."""
    for before, row in pairwise(rows):
        at = {place: index / max(1, len(before) - 1) for index, place in enumerate(before)}
        own = {place: index / max(1, len(row) - 1) for index, place in enumerate(row)}
        row.sort(key=lambda place: _mean([at[other] for other in links.get(place, [])], own[place]))


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(rows: Sequence[Sequence[Place]], above: Links, below: Links) -> dict[Place, float]:
    """Middles: near those of the neighbours, in the order of the row, without overlap."""
    x: dict[Place, float] = {}
    for row in rows:
        x |= _apart(row, [0.0] * len(row))
    for sweep in range(NUM_PULLS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [
                _mean([x[other] for other in (*above.get(place, []), *below.get(place, []))], x[place])
                for place in row
            ]
            x |= _apart(row, wanted)
    return x


def _apart(row: Sequence[Place], wanted: Sequence[float]) -> dict[Place, float]:
    """The middles nearest to those wanted: half way between pushing to the right and pushing to the left."""
    room = [(_width(one) + _width(other)) / 2 + GAP for one, other in pairwise(row)]
    rightwards, leftwards = list(wanted), list(wanted)
    for at, needed in enumerate(room):
        rightwards[at + 1] = max(rightwards[at + 1], rightwards[at] + needed)
    for at in range(len(room) - 1, -1, -1):
        leftwards[at] = min(leftwards[at], leftwards[at + 1] - room[at])
    middles = [(one + other) / 2 for one, other in zip(rightwards, leftwards, strict=True)]
    return dict(zip(row, middles, strict=True))


def _width(place: Place) -> int:
    return LANE if ">" in place[0] else BOX_WIDTH


def _top(layer: int) -> int:
    return MARGIN + layer * LAYER_HEIGHT


def _path(route: Sequence[Place], x: Mapping[Place, float]) -> str:
    """From the lower edge of the first box to the upper edge of the last, straight through each lane."""
    points = [(x[place], _top(place[1])) for place in route]
    at_x, at_y = points[0][0], points[0][1] + BOX_HEIGHT
    parts = [f"M{at_x:g} {at_y:g}"]
    for end_x, end_y in points[1:]:
        middle = (at_y + end_y) / 2
        parts.append(f"C{at_x:g} {middle:g} {end_x:g} {middle:g} {end_x:g} {end_y:g}")
        at_x, at_y = end_x, end_y + BOX_HEIGHT
        parts.append(f"V{at_y:g}")
    return " ".join(parts[:-1])
