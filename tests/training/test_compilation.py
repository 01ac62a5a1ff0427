import math
from dataclasses import replace

import keras
import numpy as np
import pytest

from melanoma.errors import TrainingError
from melanoma.models.builders import build_model
from melanoma.training import checkpoints, compilation
from melanoma.training.recipe import Recipe
from melanoma.training.resident import ResidentModel

STEPS = 4  # an epoch


def change(recipe: Recipe, hyperparameters: dict, **settings: object) -> Recipe:
    return replace(
        recipe,
        hyperparameters=recipe.hyperparameters.model_copy(update=hyperparameters),
        train=recipe.train.model_copy(update=settings),
    )


@pytest.fixture
def compiled(recipe):
    """A compiled network of the tiny recipe with other hyperparameters and settings."""

    def compile_one(hyperparameters: dict | None = None, **settings: object) -> keras.Model:
        normed = {"batch_norm": True, "learning_rate": 0.5} | (hyperparameters or {})
        changed = change(recipe, normed, **settings)
        with compilation.precision(changed):
            model = build_model(changed.hyperparameters, changed.model, image_size=24)
            compilation.compile_model(model, changed, num_epochs=3, steps_per_epoch=STEPS)
        return model

    return compile_one


def test_the_optimizer_is_the_one_of_the_hyperparameters(compiled):
    assert isinstance(compiled().optimizer, keras.optimizers.Adam)
    sgd = compiled({"optimizer": "sgd"}, momentum=0.7).optimizer
    assert isinstance(sgd, keras.optimizers.SGD)
    assert sgd.momentum == 0.7


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_weight_decay_shrinks_kernels_apart_from_the_gradient_and_spares_the_rest(compiled, optimizer):
    model = compiled({"optimizer": optimizer, "weight_decay": 0.1})
    weights = model.trainable_variables
    for weight in weights:
        weight.assign(np.ones(weight.shape))
    model.optimizer.apply([keras.ops.zeros(weight.shape) for weight in weights], weights)
    for weight in weights:
        expected = 1 - 0.5 * 0.1 if len(weight.shape) > 1 else 1.0  # learning rate 0.5
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6)


def test_without_weight_decay_nothing_shrinks(compiled):
    assert compiled({"weight_decay": 0.0}).optimizer.weight_decay is None


def test_labels_are_smoothed_in_the_loss_of_training(compiled):
    loss = compiled({"label_smoothing": 0.2}).loss
    found = float(loss(np.array([[1.0]]), np.array([[0.9]])))
    assert found == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1), rel=1e-5)


def test_mixed_precision_keeps_32_bits_of_weights_and_leaks_into_no_later_network(compiled):
    mixed = compiled(mixed_precision=True)
    dense = next(layer for layer in mixed.layers if isinstance(layer, keras.layers.Dense))
    assert dense.compute_dtype in {"bfloat16", "float16"}
    assert dense.kernel.dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
    plain = compiled()
    assert all(layer.compute_dtype != dense.compute_dtype for layer in plain.layers)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="measured on TensorFlow only")
@pytest.mark.parametrize(
    ("family", "machine", "name"),
    [
        ("conv_blocks", (False, True), "mixed_bfloat16"),  # 1.7 times as fast
        ("conv_blocks", (False, False), "float32"),  # bfloat16 without instructions is slow
        ("efficientnet_lite", (False, True), "float32"),  # 0.7 times as fast
        ("vgg16", (False, True), "float32"),  # not measured
        ("conv_blocks", (True, False), "float32"),  # not measured
    ],
)
def test_auto_takes_16_bits_only_where_they_were_measured_to_be_faster(
    recipe, monkeypatch, family, machine, name
):
    has_gpu, has_bfloat16 = machine
    monkeypatch.setattr(compilation, "has_gpu", lambda: has_gpu)
    monkeypatch.setattr(compilation, "has_bfloat16", lambda: has_bfloat16)
    auto = change(recipe, {"family": family}, mixed_precision="auto")
    assert compilation.precision_name(auto) == name
    forced = change(recipe, {"family": family}, mixed_precision=True)
    assert compilation.precision_name(forced) == ("mixed_float16" if has_gpu else "mixed_bfloat16")
    assert compilation.precision_name(change(recipe, {}, mixed_precision=False)) == "float32"


def test_a_training_with_another_precision_is_another_problem(recipe, bright_or_dark, monkeypatch):
    """The same setting may mean another precision on another machine, where the state must not be resumed."""
    auto = change(recipe, {}, mixed_precision="auto")
    digests = []
    for has_bfloat16 in (True, False, False):
        monkeypatch.setattr(compilation, "has_bfloat16", lambda has=has_bfloat16: has)
        digests.append(checkpoints.problem_digest(bright_or_dark, auto, num_epochs=2, seed=1))
    assert digests[0] != digests[1] == digests[2]


def test_the_policy_is_reset_after_an_error(recipe):
    mixed = change(recipe, {}, mixed_precision=True)
    with pytest.raises(ValueError, match="while building"), compilation.precision(mixed):
        raise ValueError("while building")
    assert keras.config.dtype_policy().name == "float32"


def test_on_a_gpu_small_gradients_are_saved_by_a_scaled_loss(compiled, monkeypatch):
    monkeypatch.setattr(compilation, "has_gpu", lambda: True)
    model = compiled(mixed_precision=True)
    assert model.dtype_policy.name == "mixed_float16"
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert float(model.optimizer.learning_rate) == 0.5


def test_a_scaled_loss_reaches_a_network_behind_images_on_the_device(recipe, monkeypatch):
    monkeypatch.setattr(compilation, "has_gpu", lambda: True)
    mixed = change(recipe, {}, mixed_precision=True)
    with compilation.precision(mixed):
        network = build_model(recipe.hyperparameters, recipe.model, image_size=24)
    model = ResidentModel(network, np.zeros((2, 24, 24, 3), np.uint8))
    assert model.dtype_policy.name == "float32"  # which is what Keras would go by
    compilation.compile_model(model, mixed, num_epochs=3, steps_per_epoch=STEPS)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_a_backend_without_the_promise_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(TrainingError, match="not on torch"):
        compilation.make_deterministic()


def test_jax_on_a_gpu_must_be_told_before_it_starts(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(compilation, "has_gpu", lambda: True)
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(TrainingError, match="XLA_FLAGS=--xla_gpu_deterministic_ops=true"):
        compilation.make_deterministic()
    monkeypatch.setenv("XLA_FLAGS", compilation.XLA_IS_REPEATABLE)
    compilation.make_deterministic()


# ---- learning rate ---------------------------------------------------------------------------


def rates(recipe: Recipe, *, num_epochs: int = 5, **changes: object) -> list[float]:
    """The learning rate of every step of a training, and the one after the last."""
    changed = change(recipe, {"learning_rate": 0.8} | changes)
    schedule = compilation.learning_rate_schedule(changed, num_epochs=num_epochs, steps_per_epoch=STEPS)
    steps = range(num_epochs * STEPS + 1)
    return [schedule if isinstance(schedule, float) else float(schedule(step)) for step in steps]


def test_a_constant_rate_stays(recipe):
    assert set(rates(recipe, schedule="constant", warmup_epochs=0)) == {0.8}


def test_a_cosine_falls_from_its_peak_to_its_final_fraction(recipe):
    found = rates(recipe, schedule="cosine", warmup_epochs=0, final_learning_rate_fraction=0.25)
    assert found[0] == pytest.approx(0.8)
    assert found[10] == pytest.approx(0.8 * (1 + 0.25) / 2)  # half of 20 steps
    assert found[20] == pytest.approx(0.2)
    assert found == sorted(found, reverse=True)


def test_a_cosine_is_the_one_of_the_textbook(recipe):
    found = rates(recipe, schedule="cosine", warmup_epochs=0, final_learning_rate_fraction=0.0)
    expected = [0.4 * (1 + math.cos(math.pi * step / 20)) for step in range(21)]
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_warm_up_rises_by_equal_steps_and_wastes_none(recipe, schedule):
    found = rates(recipe, schedule=schedule, warmup_epochs=2)
    assert found[:9] == pytest.approx([0.8 * (step + 1) / 9 for step in range(9)])
    assert max(found) == pytest.approx(0.8)


def test_after_a_warm_up_a_constant_rate_stays_and_a_cosine_falls(recipe):
    assert rates(recipe, schedule="constant", warmup_epochs=2)[8:] == pytest.approx([0.8] * 13)
    falling = rates(recipe, schedule="cosine", warmup_epochs=2, final_learning_rate_fraction=0.0)
    assert falling[14] == pytest.approx(0.4)  # half of the 12 steps that are left
    assert falling[20] == pytest.approx(0.0, abs=1e-7)


def test_the_number_of_epochs_fixes_it_wherever_training_stops(recipe):
    changes = {"schedule": "cosine", "warmup_epochs": 0, "final_learning_rate_fraction": 0.0}
    assert rates(recipe, num_epochs=10, **changes)[20] == pytest.approx(0.4)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_warm_up_that_leaves_no_epoch_is_refused(recipe, schedule):
    rates(recipe, num_epochs=3, schedule=schedule, warmup_epochs=2)
    with pytest.raises(TrainingError, match=r"warmup_epochs must be less than .* got 3 and 3"):
        rates(recipe, num_epochs=3, schedule=schedule, warmup_epochs=3)
