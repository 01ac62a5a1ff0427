from typing import Any

import optuna
import pytest
from pydantic import ValidationError

from melanoma.config.training import has
from melanoma.config.tuning import Choices, FloatRange, IntRange, Space, Starts
from melanoma.training import spaces

ROWS: dict[str, Any] = {
    "family": Choices(choices=["conv_blocks", "vgg16"]),
    "learning_rate": FloatRange(low=1e-4, high=1e-2, log=True),
    "depth": IntRange(low=2, high=4),
    "filters": Choices(choices=[16, 32]),
    "batch_norm": Choices(choices=[False, True]),
    "residual": Choices(choices=[False, True]),
    "global_pooling": Choices(choices=[False, True]),
    "dense_units": IntRange(low=32, high=64),
    "dropout": FloatRange(low=0.0, high=0.5, log=False),
    "batch_size": Choices(choices=[16, 32, 64]),
    "optimizer": Choices(choices=["adam", "sgd"]),
    "weight_decay": Choices(choices=[0.0, 1e-4]),
    "augment_strength": FloatRange(low=0.0, high=1.0, log=False),
}
NONE: dict[str, Any] = dict.fromkeys(Space.model_fields)


def draw(space, starts, number=20):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [spaces.suggest(study.ask(), space, starts) for _ in range(number)]


def test_every_row_is_drawn_from_its_range_or_choices(params):
    trials = draw(Space(**(NONE | ROWS)), Starts(params.baseline))
    for name, row in ROWS.items():
        values = [getattr(trial, name) for trial in trials if has(trial.family, name)]
        assert all(row.holds(value) for value in values)
        assert len(set(values)) > 1


def test_a_trial_draws_only_what_networks_of_its_family_have(params):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    asked = [study.ask() for _ in range(20)]
    drawn = [spaces.suggest(trial, Space(**(NONE | ROWS)), Starts(params.baseline)) for trial in asked]
    shared = set(ROWS) - {"filters", "batch_norm", "residual", "global_pooling"}
    names = {chosen.family: set(trial.params) for trial, chosen in zip(asked, drawn, strict=True)}
    assert names == {"conv_blocks": set(ROWS), "vgg16": shared}
    absent = {
        (one.filters, one.batch_norm, one.residual, one.global_pooling)
        for one in drawn
        if one.family == "vgg16"
    }
    assert absent == {(None,) * 4}
    assert None not in {one.filters for one in drawn if one.family == "conv_blocks"}


def test_the_trial_of_a_baseline_leaves_out_what_its_family_lacks(params):
    space = Space(**(NONE | {name: ROWS[name] for name in ("family", "depth", "batch_norm")}))
    vgg16 = params.baseline.with_drawn({"family": "vgg16"})
    assert spaces.params_of(space, params.baseline) == {
        "family": "conv_blocks",
        "depth": 3,
        "batch_norm": False,
    }
    assert spaces.params_of(space, vgg16) == {"family": "vgg16", "depth": 3}


def test_rows_that_are_null_keep_the_baselines_value(params):
    trials = draw(Space(**(NONE | {"depth": ROWS["depth"]})), Starts(params.baseline))
    assert {trial.depth for trial in trials} == {2, 3, 4}
    kept = {tuple(trial.model_dump(exclude={"depth"}).values()) for trial in trials}
    assert kept == {tuple(params.baseline.model_dump(exclude={"depth"}).values())}


def test_a_range_on_a_log_scale_is_drawn_evenly_over_its_decades(params):
    trials = draw(Space(**(NONE | {"learning_rate": ROWS["learning_rate"]})), Starts(params.baseline), 200)
    share_of_lower_decade = sum(trial.learning_rate < 1e-3 for trial in trials) / 200
    assert 0.4 < share_of_lower_decade < 0.6  # on a linear scale it would be 0.09


def test_the_baselines_trial_has_the_values_of_what_is_searched(params):
    space = Space(**(NONE | {"depth": ROWS["depth"], "optimizer": ROWS["optimizer"]}))
    assert spaces.params_of(space, params.baseline) == {"depth": 3, "optimizer": "adam"}


def test_a_value_out_of_its_range_is_refused_and_its_neighbour_is_not(params):
    assert params.baseline.with_drawn({"depth": 5}).depth == 5
    with pytest.raises(ValidationError, match="depth"):
        params.baseline.with_drawn({"depth": 6})


def test_a_space_without_a_row_is_refused_and_one_row_is_enough():
    with pytest.raises(ValidationError, match=r"search space is empty; give a range or choices"):
        Space(**NONE)
    assert set(Space(**(NONE | {"depth": ROWS["depth"]})).rows()) == {"depth"}


def test_what_a_search_varies_is_told_with_its_ranges(params):
    rows = {name: ROWS[name] for name in ("learning_rate", "depth", "optimizer")}
    assert spaces.in_words(Space(**(NONE | rows)), Starts(params.baseline)) == (
        "learning_rate (0.0001 to 0.01, log scale), depth (2 to 4), optimizer (adam, sgd)"
    )


def test_what_no_searched_network_has_is_not_told_as_varied(params):
    vgg16 = params.baseline.model_copy(update={"family": "vgg16"})
    rows = {name: ROWS[name] for name in ("filters", "learning_rate")}
    told = spaces.in_words(Space(**(NONE | rows)), Starts(vgg16))
    assert told == "learning_rate (0.0001 to 0.01, log scale)"
