import sys
from pathlib import Path

import pytest

from tests.benchmarks import bench_statistics
from tests.simulations.rows import Row


def test_the_benchmark_runs_every_simulation():
    modules = {path.stem for path in Path("tests/simulations").glob("*.py")} - {"rows"}
    assert set(bench_statistics.TOPICS) == modules


def test_every_area_has_its_tables():
    for area, readme in bench_statistics.READMES.items():
        for path in (readme, bench_statistics.ALL_ROWS):
            areas = [block[2] for block in bench_statistics.BLOCK.finditer(path.read_text())]
            assert areas.count(area) == 1


def test_the_table_of_an_area_is_written_between_its_markers(tmp_path):
    readme = tmp_path / "README.md"
    other = "<!-- simulations of evaluation -->\nold\n<!-- /simulations -->\n"
    readme.write_text(
        f"before\n{other}<!-- simulations of monitoring -->\nold\n<!-- /simulations -->\nafter\n"
    )
    bench_statistics.write_table([Row("rule", "0.99 of 98", "0.95", "0.65", "0.96")], "monitoring", readme)
    assert readme.read_text().splitlines() == [
        "before",
        *other.splitlines(),
        "<!-- simulations of monitoring -->",
        "| rule | truth | nominal | before | after |",
        "| --- | --- | --- | --- | --- |",
        "| rule | 0.99 of 98 | 0.95 | 0.65 | 0.96 |",
        "<!-- /simulations -->",
        "after",
    ]


def test_a_part_of_an_area_is_not_written(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_statistics", "shift", "--write"])
    with pytest.raises(SystemExit):
        bench_statistics.main()
    assert "--write needs all topics of an area" in capsys.readouterr().err
