import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from melanoma.errors import DataError, WorkerError
from melanoma.execution.processes import CHUNKS_AT_HAND, MAX_CHUNK, imap_processes

initialized: list[int] = []


def square(number: int) -> int:
    return number * number


def power(number: int, *, exponent: int) -> int:
    return int(number**exponent)


def refuse_three(number: int) -> int:
    if number == 3:
        raise DataError("three is refused")
    return number


def process_id(number: int) -> int:
    return os.getpid()


def folder(number: int) -> str:
    return str(Path.cwd())


def initialize() -> None:
    initialized.append(1)


def num_initialized(number: int) -> int:
    return len(initialized)


def die_at_seven(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def run(function, items, num_workers: int) -> list:
    return list(stream(function, items, num_items=len(items), num_workers=num_workers))


def stream(function, items, *, num_items: int, num_workers: int = 2, initializer=None) -> Iterator:
    return imap_processes(
        function,
        items,
        num_items=num_items,
        num_workers=num_workers,
        description="test",
        initializer=initializer,
    )


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_results_are_complete_and_in_order(num_workers):
    assert run(square, range(100), num_workers) == [number * number for number in range(100)]


def test_arguments_that_are_alike_for_all_items_travel_in_a_partial():
    assert run(partial(power, exponent=3), range(5), 2) == [0, 1, 8, 27, 64]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_first_error_is_raised_here_with_its_type_and_words(num_workers):
    assert run(refuse_three, [1, 2], num_workers) == [1, 2]
    with pytest.raises(DataError, match="three is refused"):
        run(refuse_three, range(10), num_workers)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_no_items_have_no_results(num_workers):
    assert run(square, [], num_workers) == []


def test_one_worker_is_this_process_and_two_are_others():
    assert set(run(process_id, range(8), 1)) == {os.getpid()}
    others = set(run(process_id, range(8), 2))
    assert os.getpid() not in others
    assert len(others) <= 2


def test_a_single_item_needs_no_other_process():
    assert run(process_id, [1], 8) == [os.getpid()]


def test_workers_stand_in_the_folder_of_their_caller(tmp_path, monkeypatch):
    run(folder, range(4), 2)  # the server of processes is up, elsewhere
    monkeypatch.chdir(tmp_path)
    assert set(run(folder, range(4), 2)) == {str(tmp_path)}


def test_every_worker_is_initialized_once_and_this_process_is_not():
    assert set(stream(num_initialized, range(64), num_items=64, initializer=initialize)) == {1}
    assert initialized == []


@pytest.mark.parametrize("num_workers", [1, 2])
def test_items_are_taken_as_results_are_and_not_all_at_once(num_workers):
    taken: list[int] = []

    def items():
        for number in range(10_000):
            taken.append(number)
            yield number

    results = stream(square, items(), num_items=10_000, num_workers=num_workers)
    assert taken == []
    assert next(results) == 0
    assert len(taken) <= MAX_CHUNK * CHUNKS_AT_HAND * num_workers
    del results


def test_a_killed_worker_is_an_error_that_names_what_it_worked_on():
    with pytest.raises(
        WorkerError, match=r"killed.*memory.*one of \d+ items: .*Lower execution\.num_workers"
    ) as caught:
        run(die_at_seven, range(16), 2)
    assert "7" in str(caught.value)


def test_after_a_worker_was_killed_the_next_call_works():
    with pytest.raises(WorkerError):
        run(die_at_seven, range(8), 2)
    assert run(square, range(8), 2) == [number * number for number in range(8)]
