import sys

import pytest

from melanoma import execution
from melanoma.errors import ConfigError
from melanoma.execution.mapping import imap
from melanoma.execution.workers import open_workers
from tests.execution.backends import on_ray, processes
from tests.execution.tasks import square


@pytest.fixture
def no_ray(monkeypatch):
    """As where the extra is not installed."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "melanoma.execution.ray_cluster", raising=False)
    monkeypatch.delattr(execution, "ray_cluster", raising=False)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_come_in_the_order_of_their_items(num_workers):
    results = imap(square, range(9), num_items=9, execution=processes(num_workers), description="test")
    assert list(results) == [0, 1, 4, 9, 16, 25, 36, 49, 64]


def test_processes_need_no_ray(no_ray):
    assert list(imap(square, [3], num_items=1, execution=processes(), description="test")) == [9]


def test_where_ray_is_not_installed_it_is_said_how_to(no_ray):
    with pytest.raises(ConfigError, match=r"ray, which is not installed.*uv pip install '\.\[ray\]'"):
        list(imap(square, [3], num_items=1, execution=on_ray(None), description="test"))
    sizes = {"num_workers": 0, "workers_per_device": 1, "tasks_per_process": 1, "cpus_per_task": 1}
    with (
        pytest.raises(ConfigError, match="not installed"),
        open_workers(square, execution=on_ray(None), **sizes),
    ):
        pass
