"""JAX is the way to a GPU without TensorFlow: training, saving and answers on it."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.imports import ROOT

# TensorFlow cannot be imported in this process, so nothing that trains may need it.
TRAIN_WITHOUT_TENSORFLOW = """
import sys
from dataclasses import replace
from pathlib import Path

class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTensorFlow())
import keras
import numpy as np
from melanoma import config
from melanoma.data.packed import Part
from melanoma.training import backend, fit
from melanoma.training.recipe import Arrays, Recipe
from melanoma.training.resident import ResidentModel

assert keras.backend.backend() == backend.describe()["backend"] == "jax"
params = config.load(Path("params.yaml"))
targets = (np.arange(24) % 3 == 0).astype(np.float32)
noise = np.random.default_rng(0).integers(-40, 40, (24, 32, 32, 3))
images = (np.where(targets == 1, 60, 190)[:, None, None, None] + noise).clip(0, 255).astype(np.uint8)
part = Part(images, np.arange(24), targets, image_ids=np.arange(24).astype(str))
on_device, begin = [], ResidentModel.__init__

def watched(self, *arguments):
    on_device.append(self)
    begin(self, *arguments)

ResidentModel.__init__ = watched
results = {}
for number, place in enumerate(("host", "host", "device")):
    train = params.train.model_copy(update={"input": place, "deterministic": True, "patience": 9})
    small = {"depth": 2, "filters": 4, "dense_units": 8, "batch_size": 8, "batch_norm": True, "dropout": 0.2}
    augment = params.augment.paper.model_copy(update={"hue_degrees": 20.0})
    recipe = Recipe(params.baseline.model_copy(update=small), params.model, augment, train)
    trained = fit.train(Arrays(part, part), recipe, num_epochs=3, seed=1)
    results[number] = trained.model.get_weights()
assert len(on_device) == 1  # the third training alone kept its images on the device
for one, same, other in zip(*results.values()):
    np.testing.assert_array_equal(one, same)  # deterministic
    np.testing.assert_allclose(one, other, atol=1e-2)  # pixels differ by a grey level here and there
folder = Path(sys.argv[1])
np.save(folder / "images.npy", images)
np.save(folder / "answers.npy", trained.model.predict_on_batch(images))
trained.model.save(folder / "model.keras")
"""
EXPORT = """
import sys
from pathlib import Path
import keras
from melanoma.training import saving
assert keras.backend.backend() == "jax"
folder = Path(sys.argv[1])
saving.save_model([keras.models.load_model(folder / "model.keras")], folder / "saved")
"""


def run_on_jax(program: str, *arguments: str) -> None:
    environment = os.environ | {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.fixture(scope="module")
def trained_on_jax(tmp_path_factory):
    """A folder with a network that JAX trained, images and its answers."""
    folder = tmp_path_factory.mktemp("jax")
    run_on_jax(TRAIN_WITHOUT_TENSORFLOW, str(folder))
    return folder


@pytest.mark.slow
def test_jax_trains_without_tensorflow_and_tensorflow_gives_the_same_answers(trained_on_jax):
    images, answers = np.load(trained_on_jax / "images.npy"), np.load(trained_on_jax / "answers.npy")
    assert keras.backend.backend() == "tensorflow"
    loaded = keras.models.load_model(trained_on_jax / "model.keras")
    np.testing.assert_allclose(loaded.predict_on_batch(images), answers, atol=1e-5)


@pytest.mark.slow
def test_a_network_that_jax_trained_is_exported_and_served(trained_on_jax):
    from melanoma.serving.network import Network

    (trained_on_jax / "saved").mkdir()
    run_on_jax(EXPORT, str(trained_on_jax))
    images, answers = np.load(trained_on_jax / "images.npy"), np.load(trained_on_jax / "answers.npy")
    served = Network(trained_on_jax / "saved" / "model.onnx").score(images)
    np.testing.assert_allclose(served, answers[:, 0], atol=1e-5)
