import os

import pytest

from melanoma.errors import DataError
from melanoma.execution import map_processes


def square(number: int) -> int:
    return number * number


def refuse_three(number: int) -> int:
    if number == 3:
        raise DataError("three is refused")
    return number


def process_id(number: int) -> int:
    return os.getpid()


def run(function, items, num_workers: int) -> list:
    return map_processes(function, items, num_workers=num_workers, description="test")


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_results_are_complete_and_in_order(num_workers):
    assert run(square, range(100), num_workers) == [number * number for number in range(100)]


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
