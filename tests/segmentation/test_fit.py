from dataclasses import replace

import keras
import numpy as np
import pytest

from melanoma.data.augment import augment_image, draw_uniform, draw_warps
from melanoma.data.lesions import Pairs, overlap
from melanoma.errors import DivergenceError, TrainingError
from melanoma.segmentation import fit


def discs(num: int, *, seed: int) -> Pairs:
    """Dark discs on light ground, 32 pixels, each with its mask."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    images, lesions = [], []
    for _ in range(num):
        row, column, radius = *generator.uniform(10, 22, size=2), generator.uniform(5, 9)
        lesion = np.hypot(y - row, x - column) < radius
        noise = generator.integers(-10, 11, size=(32, 32, 3))
        images.append(np.where(lesion[..., None], 90, 190) + noise)
        lesions.append(lesion)
    names = np.arange(num).astype(str)
    return Pairs(np.array(images, np.uint8), np.array(lesions), [None] * num, image_ids=names)


@pytest.fixture
def settings(params):
    changes = {
        "image_size": 32,
        "depth": 2,
        "filters": 4,
        "batch_size": 4,
        "learning_rate": 0.01,
        "num_epochs": 8,
        "patience": 8,
    }
    return params.segment.model_copy(update=changes)


@pytest.fixture
def train(params, settings, tmp_path):
    """Train on 32 discs; `train(num_epochs=3)` changes the settings."""

    def train_with(on_epoch=lambda epoch, row: None, pairs=None, **changes) -> fit.Fitted:
        return fit.train(
            discs(32, seed=1) if pairs is None else pairs,
            discs(8, seed=2),
            settings.model_copy(update=changes),
            params.augment.paper,
            checkpoint=tmp_path / "state.npz",
            on_epoch=on_epoch,
        )

    return train_with


# ---- the loss --------------------------------------------------------------------------------


def test_the_loss_is_cross_entropy_and_what_is_missing_of_dice():
    lesions = np.zeros((2, 2, 2, 1), np.float32)
    lesions[:, 0] = 1
    probability = np.full((2, 2, 2, 1), 0.5, np.float32)
    probability[1] = lesions[1]
    half, right = keras.ops.convert_to_numpy(fit.loss(lesions, keras.ops.convert_to_tensor(probability)))
    # of the first: ln 2, and 1 - (2 * 1 + 1) / (2 + 2 + 1)
    assert half == pytest.approx(np.log(2) + 2 / 5, abs=1e-5)
    assert right == pytest.approx(0, abs=1e-5)


# ---- training --------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_learns_where_discs_are_and_keeps_the_best_epoch(train):
    fitted = train()
    best = fit.best_epoch(fitted.history)
    assert best["val_dice"] > 0.8
    assert best["val_dice"] == fitted.history["val_dice"].max()
    test = discs(8, seed=3)
    found = fit.predict(fitted.model, test.images) >= 0.5
    assert overlap(found, test.lesions)["dice"].mean() > 0.75
    assert fitted.history["epoch"].tolist() == list(range(1, 9))


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_it_never_stopped(train, tmp_path):
    def stop(epoch, row):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stop, num_epochs=4)
    seen = []
    resumed = train(lambda epoch, row: seen.append(epoch), num_epochs=4)
    assert seen == [3, 4]
    (tmp_path / "state.npz").unlink()
    whole = train(num_epochs=4)
    np.testing.assert_allclose(resumed.history["loss"], whole.history["loss"], rtol=1e-3)


@pytest.mark.slow
def test_a_finished_training_is_not_trained_again(train):
    first = train(num_epochs=2)
    seen = []
    again = train(lambda epoch, row: seen.append(epoch), num_epochs=2)
    assert seen == []
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_stops_when_nothing_gets_better(train):
    history = train(num_epochs=6, patience=1, learning_rate=1e-9).history
    assert len(history) < 6


def test_other_masks_or_settings_are_another_problem(params, settings):
    one, other = discs(4, seed=1), discs(4, seed=2)
    digests = [
        fit.problem_digest(one, other, settings, params.augment.paper),
        fit.problem_digest(other, one, settings, params.augment.paper),
        fit.problem_digest(replace(one, lesions=~one.lesions), other, settings, params.augment.paper),
        fit.problem_digest(one, other, settings.model_copy(update={"filters": 5}), params.augment.paper),
    ]
    assert len(set(digests)) == 4
    same = settings.model_copy(update={"num_bootstrap_draws": 999})
    assert fit.problem_digest(one, other, same, params.augment.paper) == digests[0]


def test_a_split_without_masks_is_refused(train):
    with pytest.raises(TrainingError, match="The training split has no image with a usable mask"):
        train(pairs=discs(1, seed=1).take(np.array([], int)))


def test_a_training_that_blows_up_is_stopped(train):
    with pytest.raises(DivergenceError, match=r"training has diverged\. Lower segment\.learning_rate"):
        train(learning_rate=1e30)


# ---- warps -----------------------------------------------------------------------------------


def test_a_mask_is_warped_as_its_picture(params):
    pairs = discs(1, seed=5)
    lesion = pairs.lesions[0]
    picture = np.repeat(lesion[..., None] * np.uint8(255), 3, axis=2)
    for warp in draw_warps(draw_uniform(np.random.default_rng(6), 10), params.augment.paper, size=32):
        warped = augment_image(picture, warp)[..., 0] >= 128
        assert overlap(fit.warp_lesion(lesion, warp)[None], warped[None])["dice"][0] > 0.93
