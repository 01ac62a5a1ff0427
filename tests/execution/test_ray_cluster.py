"""Ray, on clusters of several nodes that are all on this machine."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import FIRST_COMPLETED, wait
from functools import partial
from pathlib import Path

import pytest

from melanoma.errors import ConfigError, DataError, WorkerError
from melanoma.execution.mapping import imap
from melanoma.execution.workers import Workers, open_workers
from tests.execution import tasks
from tests.execution.backends import on_ray, processes
from tests.execution.watching import await_that, has_ended
from tests.ray_nodes import STORE_BYTES

pytest.importorskip("ray")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def third_node(cluster):
    """One more, which may be killed."""
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    yield node
    if node in cluster.list_all_nodes():
        cluster.remove_node(node, allow_graceful=False)
    cluster.wait_for_nodes()


def open_ray(function, address: str, *, tasks_per_process: int = 9, cpus_per_task: int = 1):
    return open_workers(
        function,
        execution=on_ray(address),
        num_workers=0,
        workers_per_device=1,
        tasks_per_process=tasks_per_process,
        cpus_per_task=cpus_per_task,
    )


def results(workers: Workers, given: list) -> list:
    return [workers.submit(task).result(timeout=120) for task in given]


def map_on(execution, function, items, *, initializer=None) -> list:
    return list(
        imap(
            function,
            items,
            num_items=len(items),
            execution=execution,
            description="test",
            initializer=initializer,
        )
    )


# ---- workers ---------------------------------------------------------------------------------


def test_there_is_a_slot_for_each_cpu_and_processes_are_recycled(cluster):
    with open_ray(tasks.process_id, cluster.address, tasks_per_process=2) as workers:
        assert workers.num_slots == 2
        ids = results(workers, [0] * 12)
    assert os.getpid() not in ids
    assert max(ids.count(number) for number in ids) == 2


def test_errors_arrive_as_they_are_from_processes_of_this_machine(cluster):
    with open_ray(tasks.refuse_three, cluster.address) as workers:
        with pytest.raises(DataError, match="three is refused") as caught:
            workers.submit(3).result(timeout=120)
        assert "in refuse_three" in caught.value.__notes__[0]
        assert workers.submit(4).result(timeout=120) == 4


def test_a_worker_that_dies_loses_its_task_and_the_slot_works_on(cluster):
    with open_ray(tasks.die, cluster.address) as workers:
        with pytest.raises(WorkerError, match=r"Ray lost a task \(WorkerCrashedError\)"):
            workers.submit(int(-signal.SIGKILL)).result(timeout=120)
        assert workers.submit(0).result(timeout=120) > 0


def test_workers_see_folder_and_settings_of_this_process(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db")
    monkeypatch.setenv("OTHER_SECRET", "word")
    with open_ray(tasks.surroundings, cluster.address) as workers:
        assert results(workers, ["MLFLOW_TRACKING_URI"]) == [(str(tmp_path), "sqlite:///x.db")]
        assert results(workers, ["OTHER_SECRET"]) == [(str(tmp_path), None)]


def test_a_node_without_the_checkout_is_named(cluster, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    with open_ray(tasks.square, cluster.address) as workers:
        gone.rmdir()
        with pytest.raises(ConfigError, match=f"{socket.gethostname()} has no folder {gone}"):
            workers.submit(3).result(timeout=120)
    monkeypatch.undo()


def test_tasks_of_a_dead_node_are_lost_and_the_others_finish(cluster, third_node, tmp_path):
    marks = [tmp_path / f"{number}.pid" for number in range(3)]
    with open_ray(tasks.announce_and_wait, cluster.address) as workers:
        assert workers.num_slots == 3
        running = [workers.submit(mark) for mark in marks]
        await_that(lambda: all(mark.exists() for mark in marks))
        cluster.remove_node(third_node, allow_graceful=False)
        wait(running, timeout=120, return_when=FIRST_COMPLETED)
        (tmp_path / "go").touch()
        errors = [future.exception(timeout=120) for future in running]
        lost = [error for error in errors if error is not None]
        assert [type(error) for error in lost] == [WorkerError]
        assert "NodeDiedError" in str(lost[0])
        assert len(results(workers, marks)) == 3  # the slot is there, even if its node is not


def test_after_an_error_running_tasks_are_killed_at_once(cluster, tmp_path):
    mark = tmp_path / "0.pid"
    with pytest.raises(KeyboardInterrupt), open_ray(tasks.announce_and_sleep, cluster.address) as workers:
        running = workers.submit(mark)
        await_that(mark.exists)
        raise KeyboardInterrupt
    assert isinstance(running.exception(), WorkerError)
    await_that(lambda: has_ended(int(mark.read_text())))


def test_a_slot_that_is_closed_starts_no_task():
    from melanoma.execution import ray_cluster

    class Remote:
        started = 0

        def remote(self, *arguments: object) -> None:
            self.started += 1

    remote = Remote()
    slot = ray_cluster.RaySlot(tasks.square, remote, ray_cluster.WorkerEnvironment.capture())
    slot.kill()
    with pytest.raises(WorkerError, match="closed"):
        slot.run(3)
    assert remote.started == 0


def test_more_cpus_than_any_node_has_are_refused(cluster):
    with pytest.raises(
        ConfigError,
        match=(
            r"No node .* has 9 CPUs, as a task needs. Lower "
            r"tune\.cpus_per_trial"
        ),
    ):
        open_ray(tasks.square, cluster.address, cpus_per_task=9).__enter__()


# ---- places ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "workers_per_device", "cpus_per_task", "num_slots"),
    [
        ([{"CPU": 4}, {"CPU": 3}], 1, 2, 2 + 1),
        ([{"CPU": 1}], 1, 2, 0),
        ([{"CPU": 8, "GPU": 2}], 1, 1, 2),
        ([{"CPU": 8, "GPU": 2}], 3, 1, 6),
        ([{"CPU": 4, "GPU": 2}], 3, 1, 4),  # CPUs run out first
        ([{"CPU": 8, "GPU": 1}, {"CPU": 8}], 2, 1, 2),  # a node without a GPU is too slow to wait for
        ([{}], 1, 1, 0),
    ],
)
def test_slots_are_counted_by_gpus_or_else_by_cpus(nodes, workers_per_device, cpus_per_task, num_slots):
    from melanoma.execution import ray_cluster

    counted = ray_cluster.count_slots(
        nodes, workers_per_device=workers_per_device, cpus_per_task=cpus_per_task
    )
    assert counted == num_slots


def test_tasks_are_pinned_to_gpus_by_ray_and_each_has_a_process_of_its_own(cluster):
    node = cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    try:
        with open_ray(tasks.settings, cluster.address) as workers:
            assert workers.num_slots == 1
            seen = workers.submit(None).result(timeout=120)
        with open_ray(tasks.process_id, cluster.address) as workers:
            assert len(set(results(workers, [0, 0]))) == 2
    finally:
        cluster.remove_node(node, allow_graceful=False)
        cluster.wait_for_nodes()
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["TF_FORCE_GPU_ALLOW_GROWTH"]) == ("0", "true")


# ---- mapping ---------------------------------------------------------------------------------


def test_results_are_those_of_processes_in_their_order(cluster):
    items = list(range(100))
    assert map_on(on_ray(cluster.address), tasks.square, items) == map_on(processes(), tasks.square, items)


def test_the_first_error_of_an_item_is_raised_here(cluster):
    with pytest.raises(DataError, match="three is refused"):
        map_on(on_ray(cluster.address), tasks.refuse_three, list(range(10)))


def test_what_is_under_way_after_an_error_is_killed_at_once(cluster, tmp_path):
    sleeper = tmp_path / "0.pid"
    with pytest.raises(DataError, match="fails is refused"):
        map_on(on_ray(cluster.address), tasks.sleep_or_fail, [tmp_path / "fails", sleeper])
    await_that(lambda: has_ended(int(sleeper.read_text())))


def test_each_process_is_initialized_once(cluster):
    counts = map_on(
        on_ray(cluster.address), tasks.num_initialized, list(range(64)), initializer=tasks.initialize
    )
    assert set(counts) == {1}


def test_a_chunk_whose_process_died_is_done_again(cluster, tmp_path):
    marks = [tmp_path / "once"] * 4
    assert len(map_on(on_ray(cluster.address), tasks.die_once, marks)) == 4
    assert marks[0].exists()


def test_an_item_that_kills_every_process_is_named(cluster):
    with pytest.raises(WorkerError, match=r"Ray lost a task.*It worked on one of 1 items: 7"):
        map_on(on_ray(cluster.address, num_workers=2), tasks.die_at_seven, list(range(10)))


def test_no_items_need_no_cluster():
    assert map_on(on_ray("127.0.0.1:1"), tasks.square, []) == []


def test_items_of_a_dead_node_are_done_by_the_others(cluster, third_node):
    results = imap(
        partial(tasks.nap, seconds=0.4, num_bytes=300_000),
        range(30),
        num_items=30,
        execution=on_ray(cluster.address),
        description="test",
    )
    first = next(results)
    cluster.remove_node(third_node, allow_graceful=False)
    assert [made[0] for made in (first, *results)] == list(range(30))


# ---- clusters --------------------------------------------------------------------------------


def test_without_an_address_a_cluster_is_started_and_stopped_here(tmp_path):
    # In a process of its own: Ray switches this one to clusters that ask for a token.
    ended = subprocess.run(
        [sys.executable, "-m", "tests.execution.parent", "local", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"HOME": str(tmp_path)},  # where Ray keeps its token
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "[1, 4, 9]\nstopped\n"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "refused"),
        ("cluster", "expected host:port, auto or null"),
        ("cluster:port", "expected host:port"),
        ("ray://127.0.0.1", "expected host:port"),
    ],
)
def test_a_cluster_that_does_not_answer_is_named_at_once(address, reason):
    with pytest.raises(
        ConfigError, match=(f"execution.ray_address '{address}' cannot be used: .*{reason}.*ray start --head")
    ):
        map_on(on_ray(address), tasks.square, [1])
