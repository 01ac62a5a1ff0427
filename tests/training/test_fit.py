from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from melanoma.errors import TrainingError
from melanoma.training import fit

EPOCH_COLUMNS = {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_auc_roc"}


def build(params, seed: int = 1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    small = params.model.model_copy(update={"filters": [4, 4], "dense_units": 4})
    return fit.build_model(small, image_size=24, depth=2)


def train(params, arrays, settings, *, learning_rate=0.01, callbacks=()):
    model = build(params)
    history = fit.fit(
        model, arrays, settings, learning_rate=learning_rate, augment=params.augment, callbacks=callbacks
    )
    return model, history


def test_a_difference_in_brightness_is_learnt(params, bright_or_dark, settings):
    model, history = train(params, bright_or_dark, replace(settings, num_epochs=15, patience=15))
    assert history["val_auc_roc"].max() == 1.0
    probability = fit.predict(model, bright_or_dark.validation_images)
    is_malignant = bright_or_dark.validation_targets == 1
    assert probability[is_malignant].min() > probability[~is_malignant].max()


def test_the_history_has_one_row_an_epoch_counted_from_1(params, bright_or_dark, settings):
    _, history = train(params, bright_or_dark, settings)
    assert set(history.columns) == EPOCH_COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("monitor", ["val_loss", "val_auc_roc"])
@pytest.mark.parametrize("balance_classes", [True, False])
def test_the_weights_of_the_best_epoch_are_kept_and_its_loss_is_weighted_like_training(
    params, bright_or_dark, settings, monitor, balance_classes
):
    chosen = replace(settings, monitor=monitor, num_epochs=6, balance_classes=balance_classes)
    model, history = train(params, bright_or_dark, chosen)
    best = fit.best_epoch(history, monitor)
    probability = fit.predict(model, bright_or_dark.validation_images)
    is_malignant = bright_or_dark.validation_targets == 1  # 4 of 12
    surprise = -np.where(is_malignant, np.log(probability), np.log(1 - probability))
    mean_of_classes = (surprise[is_malignant].mean() + surprise[~is_malignant].mean()) / 2
    loss = mean_of_classes if balance_classes else surprise.mean()
    np.testing.assert_allclose(loss, best["val_loss"], rtol=1e-4)


def test_the_best_epoch_is_the_lowest_loss_and_the_highest_auc_first_of_equals():
    history = pd.DataFrame({"val_loss": [3.0, 1.0, 2.0, 1.0], "val_auc_roc": [0.5, 0.7, 0.9, 0.9]})
    assert fit.best_epoch(history, "val_loss").name == 1
    assert fit.best_epoch(history, "val_auc_roc").name == 2


def test_training_stops_when_patience_is_over(params, bright_or_dark, settings):
    _, history = train(
        params, bright_or_dark, replace(settings, num_epochs=50, patience=1), learning_rate=1e-9
    )
    assert len(history) < 50


def test_the_same_seed_starts_from_the_same_weights_and_sees_the_same_batches(
    params, bright_or_dark, settings
):
    first = train(params, bright_or_dark, settings)[1]
    second = train(params, bright_or_dark, settings)[1]
    np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-3)


def test_callbacks_see_all_scores_of_the_epoch(params, bright_or_dark, settings):
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(set(logs)))
    train(params, bright_or_dark, settings, callbacks=[callback])
    assert seen == [EPOCH_COLUMNS - {"epoch"}] * 4


def test_validation_images_are_not_augmented(params, bright_or_dark, settings):
    model, history = train(params, bright_or_dark, replace(settings, num_epochs=1))
    called = fit.predict(model, bright_or_dark.validation_images) >= 0.5
    accuracy = balanced_accuracy_score(bright_or_dark.validation_targets, called)
    assert accuracy == pytest.approx(history["val_accuracy"].iloc[0])


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_of_one_class_is_refused_by_name(params, bright_or_dark, settings, split):
    zeros = np.zeros_like(getattr(bright_or_dark, f"{split}_targets"))
    with pytest.raises(TrainingError, match=f"The {split} split has .* one class"):
        train(params, replace(bright_or_dark, **{f"{split}_targets": zeros}), settings)


def test_a_loss_that_is_no_number_stops_with_what_to_do(params, bright_or_dark, settings):
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train(params, bright_or_dark, settings, learning_rate=1e38)


def test_the_saved_networks_give_the_same_probabilities(params, bright_or_dark, settings, tmp_path):
    from melanoma.serving.network import Network

    model, _ = train(params, bright_or_dark, replace(settings, num_epochs=1))
    fit.save_model(model, tmp_path)
    images = bright_or_dark.validation_images
    expected = fit.predict(model, images)
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(fit.predict(reloaded, images), expected, atol=1e-6)
    np.testing.assert_allclose(
        Network(tmp_path / "model.onnx").score(images, batch_size=5), expected, atol=1e-5
    )
