from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from melanoma.data.packed import Part
from melanoma.models import head
from melanoma.models.builders import build_model
from melanoma.serving.network import Network
from melanoma.training import features, fit, scores
from melanoma.training.recipe import Arrays, Recipe
from melanoma.training.saving import save_model

CHANNELS = {"block1_conv1": (3, 64), "block1_conv2": (64, 64)}
STILL: dict[str, object] = {"flips": False}


class Interrupt(keras.callbacks.Callback):  # type: ignore[misc]
    """A kill at the end of the second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def arrays():
    """12 training and 6 held-out images of 32 px: positive ones are striped."""
    generator = np.random.default_rng(3)

    def draw(number: int) -> Part:
        targets = (np.arange(number) % 3 == 0).astype(np.float32)
        stripes = np.where(np.arange(32) % 4 < 2, 60, 0)[None, :, None, None] * targets[:, None, None, None]
        noise = generator.integers(0, 120, (number, 32, 32, 3))
        names = np.arange(number).astype(str)
        return Part((noise + stripes).astype(np.uint8), np.arange(number), targets, image_ids=names)

    return Arrays(draw(12), draw(6))


@pytest.fixture
def recipe(params, tmp_path):
    """One frozen block of VGG-16 with weights from a file; two views of each training image."""
    generator = np.random.default_rng(2)
    with h5py.File(tmp_path / "some.h5", "w") as file:
        for layer, shape in CHANNELS.items():
            file[f"{layer}/0"] = generator.normal(0, 0.1, (3, 3, *shape)).astype(np.float32)
            file[f"{layer}/1"] = generator.normal(0, 0.1, shape[1]).astype(np.float32)
    small = {"family": "vgg16", "depth": 1, "dense_units": 4, "batch_size": 4, "learning_rate": 1e-3}
    kept = {"weights": str(tmp_path / "some.h5"), "frozen_stages": 1}
    return Recipe(
        params.baseline.with_drawn(small | kept),
        params.model.model_copy(update={"num_views": 2}),
        params.augment.paper,
        params.train.model_copy(update={"checkpoints": str(tmp_path / "checkpoints")}),
    )


def change(recipe: Recipe, **sections: dict[str, object]) -> Recipe:
    copies = {name: getattr(recipe, name).model_copy(update=values) for name, values in sections.items()}
    return replace(recipe, **copies)


def compute(recipe: Recipe, arrays: Arrays) -> features.Features | None:
    return features.compute(build_model(recipe.hyperparameters, recipe.model, image_size=32), arrays, recipe)


@pytest.fixture
def computed(monkeypatch):
    """The pictures that went through the frozen part."""
    pictures = []
    pixels = features._View.pixels

    def counted(view):
        pictures.append(view)
        return pixels(view)

    monkeypatch.setattr(features._View, "pixels", counted)
    return pictures


def test_an_end_trained_on_features_answers_as_the_network_trained_on_images(arrays, recipe, monkeypatch):
    chosen: dict[str, object] = {"augment_strength": 0.0, "dense_units": 16, "learning_rate": 1e-2}
    recipe = change(recipe, hyperparameters=chosen, augment=STILL, model={"num_views": 1})
    quick = fit.train(arrays, recipe, num_epochs=3, seed=1)
    monkeypatch.setattr(features, "compute", lambda *_: None)
    plain = fit.train(arrays, recipe, num_epochs=3, seed=1)
    pixels = arrays.holdout.images
    answers = plain.model.predict_on_batch(pixels)
    np.testing.assert_allclose(quick.model.predict_on_batch(pixels), answers, atol=2e-3)
    assert answers.std() > 1e-3
    scores = ["loss", "val_loss", "val_auc_roc"]
    np.testing.assert_allclose(quick.history[scores], plain.history[scores], rtol=5e-3)


def test_the_whole_network_comes_back_and_is_saved_as_any_other(arrays, recipe, tmp_path):
    fresh = build_model(recipe.hyperparameters, recipe.model, image_size=32)
    trained = fit.train(arrays, recipe, num_epochs=2, seed=1)
    assert [layer.name for layer in trained.model.layers] == [layer.name for layer in fresh.layers]
    for layer in CHANNELS:
        kernels = [model.get_layer(layer).get_weights()[0] for model in (trained.model, fresh)]
        np.testing.assert_array_equal(*kernels)
    save_model([trained.model], tmp_path / "kept")
    answers = trained.model.predict_on_batch(arrays.holdout.images).ravel()
    exported = Network(tmp_path / "kept" / "model.onnx").score(arrays.holdout.images)
    np.testing.assert_allclose(exported, answers, atol=1e-5)


def test_images_are_scored_from_features_as_by_the_whole_network(arrays, recipe, computed):
    trained = fit.train(arrays, recipe, num_epochs=2, seed=1)
    computed.clear()
    whole = scores.predict(trained.model, arrays.train)
    for _ in range(2):
        quick = features.predict(trained.model, arrays.train, recipe)
        np.testing.assert_allclose(quick, whole, atol=2e-3)
    assert len(computed) == 12  # once
    plain = change(recipe, hyperparameters={"frozen_stages": 0})
    np.testing.assert_array_equal(features.predict(trained.model, arrays.train, plain), whole)


def test_features_are_computed_once_for_all_seeds_parts_and_orders(arrays, recipe, computed):
    first = compute(recipe, arrays)
    assert len(computed) == 2 * 12 + 6
    computed.clear()
    fit.train(arrays, recipe, num_epochs=1, seed=5)
    whole = arrays.train
    chosen = slice(None, -6, -1)
    backwards = Part(
        whole.images, whole.rows[chosen], whole.targets[chosen], image_ids=whole.image_ids[chosen]
    )
    again = compute(recipe, Arrays(backwards, arrays.holdout))
    assert computed == []
    assert first.views.shape == (2, 12, 64)
    np.testing.assert_array_equal(again.views, first.views[:, ::-1][:, :5])


def test_other_views_are_computed_and_images_as_they_are_are_not_computed_again(arrays, recipe, computed):
    compute(recipe, arrays)
    computed.clear()
    compute(change(recipe, model={"num_views": 3}), arrays)
    assert len(computed) == 12  # the third view
    computed.clear()
    compute(change(recipe, hyperparameters={"augment_strength": 0.5}), arrays)
    assert len(computed) == 24


def test_other_weights_are_another_frozen_part(arrays, recipe, computed):
    compute(recipe, arrays)
    computed.clear()
    with h5py.File(recipe.hyperparameters.weights, "a") as file:
        file["block1_conv1/1"][0] += 1
    compute(recipe, arrays)
    assert len(computed) == 2 * 12 + 6


def test_views_of_an_image_differ_and_without_warps_they_do_not(arrays, recipe):
    views = compute(recipe, arrays).views
    assert (np.abs(views[0] - views[1]).max(axis=1) > 0.01).all()
    still = change(recipe, hyperparameters={"augment_strength": 0.0}, augment=STILL)
    same = compute(still, arrays).views
    np.testing.assert_allclose(same[0], same[1], atol=2e-3)  # rounded to 16 bits
    assert np.abs(views[0] - same[0]).max() > 0.01


def test_a_network_that_learns_in_its_blocks_has_no_features(arrays, recipe, params):
    assert compute(change(recipe, hyperparameters={"frozen_stages": 0}), arrays) is None
    published = params.baseline.with_drawn({"depth": 1, "filters": 2})
    assert compute(replace(recipe, hyperparameters=published), arrays) is None


def test_a_file_that_grows_too_large_is_begun_anew(arrays, recipe, computed, monkeypatch):
    compute(recipe, arrays)
    monkeypatch.setattr(features, "MAX_BYTES", 40 * 64 * 2)
    half = change(recipe, hyperparameters={"augment_strength": 0.5})
    compute(half, arrays)  # 24 more than the 30 that are there
    computed.clear()
    compute(half, arrays)
    assert computed == []
    compute(recipe, arrays)
    assert len(computed) == 24


def test_a_file_that_cannot_be_read_is_computed_anew(arrays, recipe, computed, caplog, tmp_path):
    first = compute(recipe, arrays)
    (path,) = (tmp_path / "checkpoints" / features.FOLDER).iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    computed.clear()
    np.testing.assert_array_equal(compute(recipe, arrays).views, first.views)
    assert len(computed) == 2 * 12 + 6
    assert "Features are computed again" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        lambda keys, values: {"keys": keys, "features": values[:-1]},
        lambda keys, values: {"keys": keys, "features": values[:, :-1]},
        lambda keys, values: {"keys": keys, "features": np.full_like(values, np.nan)},
    ],
)
def test_features_that_do_not_fit_are_computed_anew(arrays, recipe, computed, caplog, damage):
    first = compute(recipe, arrays)
    (path,) = (Path(recipe.train.checkpoints) / features.FOLDER).iterdir()
    with np.load(path) as stored:
        damaged = damage(stored["keys"], stored["features"])
    np.savez(path, **damaged)
    np.testing.assert_array_equal(compute(recipe, arrays).views, first.views)
    assert "Features are computed again" in caplog.text
    computed.clear()
    compute(recipe, arrays)
    assert computed == []  # what was kept again is whole


@pytest.mark.slow
def test_an_interrupted_training_on_features_goes_on_as_if_it_never_stopped(arrays, recipe, tmp_path):
    recipe = change(recipe, hyperparameters={"dropout": 0.3})
    straight = fit.train(arrays, recipe, num_epochs=4, seed=1)
    arguments = {"num_epochs": 4, "seed": 1, "checkpoint": tmp_path / "state.npz"}
    with pytest.raises(KeyboardInterrupt):
        fit.train(arrays, recipe, **arguments, callbacks=[Interrupt()])
    resumed = fit.train(arrays, recipe, **arguments)
    assert resumed.history["epoch"].tolist() == [1, 2, 3, 4]
    for one, other in zip(resumed.model.get_weights(), straight.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


# ---- other families, and stages that learn later ---------------------------------------------


def lite(recipe: Recipe, **changes: object) -> Recipe:
    chosen = {"family": "efficientnet_lite", "network": "lite0", "weights": "imagenet", "frozen_stages": 5}
    return replace(recipe, hyperparameters=recipe.hyperparameters.with_drawn(chosen | changes))


def test_features_of_a_backbone_whose_stages_are_all_frozen_are_its_own(arrays, recipe, computed):
    frozen = lite(recipe)
    network = build_model(frozen.hyperparameters, frozen.model, image_size=32)
    found = features.compute(network, arrays, frozen)
    expected = head.cut(network)[0].predict_on_batch(arrays.holdout.images)
    np.testing.assert_allclose(found.holdout.images, expected, rtol=2e-3, atol=2e-3)
    assert found.views.shape == (2, 12, 1280)
    computed.clear()
    unfrozen = lite(recipe, frozen_stages=0)  # of the weights that training starts from
    again = features.of_frozen_blocks(arrays.holdout, unfrozen)
    np.testing.assert_array_equal(again, found.holdout.images)
    assert computed == []
    probability = features.predict(network, arrays.holdout, frozen)
    np.testing.assert_allclose(probability, scores.predict(network, arrays.holdout), atol=2e-3)


def test_a_backbone_with_a_stage_that_learns_now_or_later_has_no_features(arrays, recipe):
    assert compute(lite(recipe, frozen_stages=4), arrays) is None
    assert compute(lite(recipe, unfreeze_epoch=2), arrays) is None


def test_frozen_stages_learn_from_their_epoch_on_also_after_an_interruption(arrays, recipe, tmp_path):
    chosen = {"unfreeze_epoch": 3, "layer_decay": 0.5}
    recipe = replace(recipe, hyperparameters=recipe.hyperparameters.with_drawn(chosen))
    kernels = {}

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch, logs=None):
            kernels[epoch + 1] = self.model.get_layer("block1_conv1").get_weights()[0]

    fresh = build_model(recipe.hyperparameters, recipe.model, image_size=32)
    kernels[0] = fresh.get_layer("block1_conv1").get_weights()[0]
    straight = fit.train(arrays, recipe, num_epochs=4, seed=1, callbacks=[Watch()])
    changed = [(kernels[epoch] != kernels[epoch - 1]).any() for epoch in (1, 2, 3, 4)]
    assert changed == [False, False, True, True]
    arguments = {"num_epochs": 4, "seed": 1, "checkpoint": tmp_path / "state.npz"}
    with pytest.raises(KeyboardInterrupt):
        fit.train(arrays, recipe, **arguments, callbacks=[Interrupt()])
    resumed = fit.train(arrays, recipe, **arguments)
    for one, other in zip(resumed.model.get_weights(), straight.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
