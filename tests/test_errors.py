import inspect

import pytest

from melanoma import errors


@pytest.mark.parametrize(
    ("offenders", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (range(5), "0, 1, 2, 3, 4"),
        (range(6), "0, 1, 2, 3, 4 and 1 more"),
        ((name for name in "abcdefgh"), "a, b, c, d, e and 3 more"),
    ],
)
def test_the_first_five_offenders_are_shown_and_the_rest_counted(offenders, text):
    assert errors.first_offenders(offenders) == text


def test_every_error_of_the_package_is_one_that_the_scripts_turn_into_a_message():
    classes = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, Exception)]
    assert len(classes) >= 7
    assert all(issubclass(item, errors.MelanomaError) for item in classes)
