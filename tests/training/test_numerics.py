import keras
import numpy as np
import pytest

from melanoma.errors import TrainingError
from melanoma.models.builders import build_model
from melanoma.training import numerics
from melanoma.training.resident import ResidentModel

IS_TENSORFLOW = keras.backend.backend() == "tensorflow"


@pytest.fixture
def compiled(recipe):
    """A compiled network of the tiny recipe with other hyperparameters and settings."""

    def compile_one(hyperparameters: dict | None = None, **settings: object) -> keras.Model:
        normed = {"batch_norm": True} | (hyperparameters or {})
        chosen = recipe.hyperparameters.model_copy(update=normed)
        train = recipe.train.model_copy(update=settings)
        with numerics.precision(train):
            model = build_model(chosen, recipe.model, image_size=24)
            numerics.compile_model(model, chosen, train, learning_rate=0.5)
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
    loss = compiled(label_smoothing=0.2).loss
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


def test_the_policy_is_reset_after_an_error(recipe):
    mixed = recipe.train.model_copy(update={"mixed_precision": True})
    with pytest.raises(ValueError, match="while building"), numerics.precision(mixed):
        raise ValueError("while building")
    assert keras.config.dtype_policy().name == "float32"


def test_on_a_gpu_small_gradients_are_saved_by_a_scaled_loss(compiled, monkeypatch):
    monkeypatch.setattr(numerics, "has_gpu", lambda: True)
    model = compiled(mixed_precision=True)
    assert model.dtype_policy.name == "mixed_float16"
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert float(model.optimizer.learning_rate) == 0.5


def test_a_scaled_loss_reaches_a_network_behind_images_on_the_device(recipe, monkeypatch):
    monkeypatch.setattr(numerics, "has_gpu", lambda: True)
    train = recipe.train.model_copy(update={"mixed_precision": True})
    with numerics.precision(train):
        network = build_model(recipe.hyperparameters, recipe.model, image_size=24)
    model = ResidentModel(network, np.zeros((2, 24, 24, 3), np.uint8))
    assert model.dtype_policy.name == "float32"  # which is what Keras would go by
    numerics.compile_model(model, recipe.hyperparameters, train, learning_rate=0.5)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.skipif(not IS_TENSORFLOW, reason="JAX always compiles")
@pytest.mark.parametrize("xla", [True, False])
def test_xla_compiles_the_step_where_it_is_asked_for(compiled, xla):
    assert compiled(xla=xla).jit_compile is xla


@pytest.mark.skipif(not IS_TENSORFLOW, reason="a promise that TensorFlow cannot keep")
def test_repeatable_and_xla_together_are_refused_on_tensorflow(recipe):
    settings = recipe.train.model_copy(update={"deterministic": True, "xla": True})
    with pytest.raises(TrainingError, match=r"train.deterministic .* together with train.xla"):
        numerics.make_repeatable(settings)


def test_a_backend_without_the_promise_is_refused_by_name(recipe, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(TrainingError, match="not on torch"):
        numerics.make_repeatable(recipe.train)


def test_jax_on_a_gpu_must_be_told_before_it_starts(recipe, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(numerics, "has_gpu", lambda: True)
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(TrainingError, match="XLA_FLAGS=--xla_gpu_deterministic_ops=true"):
        numerics.make_repeatable(recipe.train)
    monkeypatch.setenv("XLA_FLAGS", numerics.XLA_IS_REPEATABLE)
    numerics.make_repeatable(recipe.train)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_place_rate_and_what_to_do(compiled, loss):
    guard = numerics.StopAtNan()
    guard.set_model(compiled())
    guard.on_epoch_begin(2)
    guard.on_train_batch_end(0, {"loss": 0.7})
    with pytest.raises(
        TrainingError, match=rf"loss is {loss} in epoch 3, batch 6, at a learning rate of 0.5.*Lower"
    ):
        guard.on_train_batch_end(5, {"loss": loss})
