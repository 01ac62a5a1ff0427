import os
import pickle
import signal
from concurrent.futures import wait

import psutil
import pytest

from melanoma.errors import DataError, WorkerError
from melanoma.execution import devices
from melanoma.execution.worker_processes import pin
from melanoma.execution.workers import Workers, open_workers
from tests.execution import tasks
from tests.execution.backends import processes
from tests.execution.tasks import PINNED
from tests.execution.watching import await_that


def open_processes(function, *, num_workers=1, workers_per_device=1, tasks_per_process=9):
    return open_workers(
        function,
        execution=processes(),
        num_workers=num_workers,
        workers_per_device=workers_per_device,
        tasks_per_process=tasks_per_process,
        cpus_per_task=1,
    )


@pytest.fixture
def no_gpu(monkeypatch):
    for name in PINNED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "worker_main" in " ".join(child.cmdline())]


def results(workers: Workers, given: list) -> list:
    return [workers.submit(task).result(timeout=60) for task in given]


# ---- tasks and their outcomes ----------------------------------------------------------------


def test_tasks_run_beside_each_other_in_other_processes_and_give_their_results():
    with open_processes(tasks.process_id, num_workers=2) as workers:
        both = [workers.submit(0.5), workers.submit(0.5)]
        ids = {future.result(timeout=60) for future in both}
    assert len(ids) == 2
    assert os.getpid() not in ids


def test_an_error_keeps_its_type_and_words_and_tells_where_it_was_raised():
    with open_processes(tasks.refuse_three) as workers:
        with pytest.raises(DataError, match="three is refused") as caught:
            workers.submit(3).result(timeout=60)
        assert "in refuse_three" in caught.value.__notes__[0]
        assert workers.submit(4).result(timeout=60) == 4


def test_an_error_that_cannot_travel_becomes_one_that_says_the_same():
    with (
        open_processes(tasks.fail_peculiarly) as workers,
        pytest.raises(RuntimeError, match="PeculiarError: salt and pepper"),
    ):
        workers.submit(None).result(timeout=60)


def test_a_connection_that_a_task_loses_is_its_own_and_not_its_workers():
    with open_processes(tasks.lose_connection) as workers:
        for _ in range(2):
            with pytest.raises(ConnectionResetError, match="the database is gone"):
                workers.submit(None).result(timeout=60)
        assert len(children()) == 1


@pytest.mark.parametrize("task", [True, lambda: True])
def test_a_result_or_a_task_that_cannot_travel_is_an_error_of_that_task_alone(task):
    with open_processes(tasks.unpicklable_if) as workers:
        with pytest.raises((AttributeError, pickle.PicklingError), match="pickle"):
            workers.submit(task).result(timeout=60)
        assert workers.submit(False).result(timeout=60) is None


def test_workers_see_folder_and_environment_of_the_moment_they_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db")
    with open_processes(tasks.surroundings) as workers:
        assert workers.submit("MLFLOW_TRACKING_URI").result(timeout=60) == (str(tmp_path), "sqlite:///x.db")


# ---- lives of processes ----------------------------------------------------------------------


def test_a_process_is_replaced_after_its_share_of_tasks():
    with open_processes(tasks.process_id, tasks_per_process=2) as workers:
        first, second, third, fourth, fifth = results(workers, [0] * 5)
    assert first == second != third == fourth != fifth
    assert len({first, third, fifth}) == 3


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, "was killed .SIGKILL., most likely because memory ran out"),
        (-signal.SIGSEGV, "stopped by signal 11 .Segmentation fault"),
        (3, "ended with exit code 3"),
    ],
)
def test_a_process_that_dies_says_how_and_its_slot_works_on(code, words):
    with open_processes(tasks.die) as workers:
        before = workers.submit(0).result(timeout=60)
        with pytest.raises(WorkerError, match=words):
            workers.submit(int(code)).result(timeout=60)
        assert workers.submit(0).result(timeout=60) != before


def test_a_process_that_is_killed_loses_only_its_own_task():
    with open_processes(tasks.process_id, num_workers=2) as workers:
        victim, _ = results(workers, [0.0, 0.0])
        running = [workers.submit(1.0), workers.submit(1.0)]
        os.kill(victim, signal.SIGKILL)
        wait(running, timeout=60)
        lost = [future for future in running if isinstance(future.exception(), WorkerError)]
        (kept,) = set(running) - set(lost)
        assert len(lost) == 1
        assert kept.result() != victim
        assert victim not in results(workers, [0.0] * 4)


def test_a_process_that_dies_between_two_tasks_is_noticed_with_the_next():
    with open_processes(tasks.process_id) as workers:
        os.kill(workers.submit(0).result(timeout=60), signal.SIGKILL)
        with pytest.raises(WorkerError, match="killed"):
            workers.submit(0).result(timeout=60)
        assert workers.submit(0).result(timeout=60) > 0


def test_when_all_is_done_no_process_is_left():
    with open_processes(tasks.process_id, num_workers=2) as workers:
        results(workers, [0, 0])
        assert len(children()) == 2
        late = workers.submit(0.3)
    assert late.result() > 0  # it was waited for
    assert children() == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_running_tasks_are_killed_at_once(tmp_path, error):
    marks = [tmp_path / f"{number}.pid" for number in range(3)]
    with pytest.raises(error), open_processes(tasks.announce_and_sleep, num_workers=2) as workers:
        running = [workers.submit(mark) for mark in marks]
        await_that(lambda: marks[0].exists() and marks[1].exists())
        raise error
    assert children() == []
    assert {type(future.exception()) for future in running[:2]} == {WorkerError}
    assert running[2].cancelled() or isinstance(running[2].exception(), WorkerError)
    assert not marks[2].exists()


# ---- devices ---------------------------------------------------------------------------------


def test_a_worker_is_pinned_to_its_gpu_before_any_library_is_loaded(no_gpu, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1a,GPU-2b")
    with open_processes(tasks.settings, num_workers=0) as workers:
        assert workers.num_slots == 2
        both = results(workers, [None, None])
    assert [seen["CUDA_VISIBLE_DEVICES"] for seen in both] == ["GPU-1a", "GPU-2b"]
    assert {seen["TF_FORCE_GPU_ALLOW_GROWTH"] for seen in both} == {"true"}
    assert {seen["XLA_PYTHON_CLIENT_PREALLOCATE"] for seen in both} == {"false"}
    assert {seen["tensorflow"] for seen in both} == {None}


def test_without_a_gpu_one_worker_is_opened_and_takes_all_cores(no_gpu):
    with open_processes(tasks.settings, num_workers=0, workers_per_device=4) as workers:
        assert workers.num_slots == 1
        seen = workers.submit(None).result(timeout=60)
    assert (seen["OMP_NUM_THREADS"], seen["TF_NUM_INTRAOP_THREADS"]) == (None, None)


def test_workers_that_share_gpus_share_their_memory(no_gpu, monkeypatch):
    places = [pin(slot, num_slots=4, gpus=["a", "b"]) for slot in range(4)]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == ["a", "b", "a", "b"]
    assert {place["XLA_PYTHON_CLIENT_MEM_FRACTION"] for place in places} == {"0.50"}
    alone = pin(0, num_slots=2, gpus=["a", "b"])
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in alone


@pytest.mark.parametrize(("num_slots", "threads"), [(2, "4"), (3, "2"), (16, "1")])
def test_workers_without_gpus_share_the_cores(no_gpu, monkeypatch, num_slots, threads):
    monkeypatch.setattr("melanoma.execution.worker_processes.num_cores", lambda: 8)
    place = pin(0, num_slots=num_slots, gpus=[])
    assert (place["OMP_NUM_THREADS"], place["TF_NUM_INTRAOP_THREADS"]) == (threads, threads)


def test_what_the_user_has_set_stays(no_gpu, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert devices.find_gpus() == []
    with open_processes(tasks.settings, num_workers=2) as workers:
        assert workers.submit(None).result(timeout=60)["OMP_NUM_THREADS"] == "7"
