from pathlib import Path

from tests.benchmarks import bench_statistics
from tests.simulations.rows import Row


def test_the_benchmark_runs_every_simulation():
    modules = {path.stem for path in Path("tests/simulations").glob("*.py")} - {"rows"}
    assert set(bench_statistics.TOPICS) == modules


def test_the_table_is_written_between_its_markers(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- simulations -->\nold\n<!-- /simulations -->\nafter\n")
    bench_statistics.write_table([Row("rule", "0.99 of 98", "0.95", "0.65", "0.96")], readme)
    assert readme.read_text().splitlines() == [
        "before",
        "<!-- simulations -->",
        "| rule | truth | nominal | before | after |",
        "| --- | --- | --- | --- | --- |",
        "| rule | 0.99 of 98 | 0.95 | 0.65 | 0.96 |",
        "<!-- /simulations -->",
        "after",
    ]
