import math

import pytest

from melanoma.errors import TrainingError
from melanoma.training.schedules import learning_rate

STEPS = 4  # an epoch


def rates(params, *, num_epochs: int = 5, **changes) -> list[float]:
    """The learning rate of every step of a training, and the one after the last."""
    settings = params.train.model_copy(update=changes)
    schedule = learning_rate(0.8, settings, num_epochs=num_epochs, steps_per_epoch=STEPS)
    steps = range(num_epochs * STEPS + 1)
    return [schedule if isinstance(schedule, float) else float(schedule(step)) for step in steps]


def test_a_constant_rate_stays(params):
    assert set(rates(params, schedule="constant", warmup_epochs=0)) == {0.8}


def test_a_cosine_falls_from_its_height_to_its_final_fraction(params):
    found = rates(params, schedule="cosine", warmup_epochs=0, final_learning_rate_fraction=0.25)
    assert found[0] == pytest.approx(0.8)
    assert found[10] == pytest.approx(0.8 * (1 + 0.25) / 2)  # half of 20 steps
    assert found[20] == pytest.approx(0.2)
    assert found == sorted(found, reverse=True)


def test_a_cosine_is_the_one_of_the_textbook(params):
    found = rates(params, schedule="cosine", warmup_epochs=0, final_learning_rate_fraction=0.0)
    expected = [0.4 * (1 + math.cos(math.pi * step / 20)) for step in range(21)]
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_warm_up_rises_by_equal_steps_and_wastes_none(params, schedule):
    found = rates(params, schedule=schedule, warmup_epochs=2)
    assert found[:9] == pytest.approx([0.8 * (step + 1) / 9 for step in range(9)])
    assert max(found) == pytest.approx(0.8)


def test_after_a_warm_up_a_constant_rate_stays_and_a_cosine_falls(params):
    assert rates(params, schedule="constant", warmup_epochs=2)[8:] == pytest.approx([0.8] * 13)
    falling = rates(params, schedule="cosine", warmup_epochs=2, final_learning_rate_fraction=0.0)
    assert falling[14] == pytest.approx(0.4)  # half of the 12 steps that are left
    assert falling[20] == pytest.approx(0.0, abs=1e-7)


def test_the_number_of_epochs_fixes_it_wherever_training_stops(params):
    changes = {"schedule": "cosine", "warmup_epochs": 0, "final_learning_rate_fraction": 0.0}
    assert rates(params, num_epochs=10, **changes)[20] == pytest.approx(0.4)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_warm_up_that_leaves_no_epoch_is_refused(params, schedule):
    rates(params, num_epochs=3, schedule=schedule, warmup_epochs=2)
    with pytest.raises(TrainingError, match=r"train\.warmup_epochs is 3, but only 3 epochs are trained"):
        rates(params, num_epochs=3, schedule=schedule, warmup_epochs=3)
