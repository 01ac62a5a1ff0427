"""The same code on TensorFlow and on JAX: the tests of networks and training pass on both."""

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np
import pytest

from tests.imports import ROOT

# They train no network: the search around the training.
WITHOUT_NETWORKS = ("search", "spaces", "storages", "studies", "trials")
# What has a meaning on TensorFlow alone.
TENSORFLOW_ONLY = {
    "test_xla_compiles_the_step_where_it_is_asked_for[True]",
    "test_xla_compiles_the_step_where_it_is_asked_for[False]",
    "test_repeatable_and_xla_together_are_refused_on_tensorflow",
}
BACKENDS = {"tensorflow", "jax"}
MODULES_THAT_LOOK_BEHIND_KERAS = {
    "src/melanoma/training/backend.py",
    "src/melanoma/training/numerics.py",
}
OTHER_SIDE = """
import sys
from pathlib import Path
import keras
import numpy as np
folder = Path(sys.argv[1])
images = np.load(folder / "images.npy")
for name in sys.argv[2:]:
    model = keras.models.load_model(folder / name / "model.keras")
    np.save(folder / name / "loaded_there.npy", model.predict_on_batch(images))
    new = keras.models.clone_model(model)  # with other weights
    new.save(folder / name / "from_there.keras")
    np.save(folder / name / "from_there.npy", new.predict_on_batch(images))
print(keras.backend.backend())
"""


def run_python(*arguments: str, backend: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)  # all of these tests in one
def test_networks_and_training_pass_their_tests_on_jax(tmp_path):
    done = run_python(
        *("-m", "pytest", "tests/models", "tests/training", "-m", "not slow", "-q", "-p", "no:cacheprovider"),
        *(f"--ignore=tests/training/test_{name}.py" for name in WITHOUT_NETWORKS),
        f"--junitxml={tmp_path / 'results.xml'}",
        backend="jax",
    )
    assert done.returncode == 0, done.stdout[-5000:]
    cases = list(ET.parse(tmp_path / "results.xml").iter("testcase"))
    skipped = {case.get("name") for case in cases if case.find("skipped") is not None}
    assert skipped == TENSORFLOW_ONLY
    passed = {case.get("name") for case in cases} - skipped
    # This one compares with KERAS_BACKEND what Keras says of itself.
    assert "test_the_backend_is_the_one_that_was_asked_for" in passed
    modules = {str(case.get("classname")).rpartition(".")[2] for case in cases}
    assert modules >= {"test_builders", "test_conv_blocks", "test_vgg16", "test_fit", "test_inputs"}


@pytest.mark.slow
def test_a_network_saved_on_one_backend_answers_alike_on_the_other(params, tmp_path):
    import keras

    from melanoma.models.builders import build_model

    here = keras.backend.backend()
    (there,) = BACKENDS - {here}
    images = np.random.default_rng(1).integers(0, 256, size=(5, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    small = params.baseline.model_copy(update={"depth": 2, "filters": 4, "dense_units": 8, "dropout": 0.5})
    families = {"conv_blocks": {"batch_norm": True, "residual": True}, "vgg16": {}}
    expected = {}
    for family, options in families.items():
        model = build_model(
            small.model_copy(update={"family": family, **options}), params.model, image_size=32
        )
        (tmp_path / family).mkdir()
        model.save(tmp_path / family / "model.keras")
        expected[family] = model.predict_on_batch(images)

    done = run_python("-c", OTHER_SIDE, str(tmp_path), *families, backend=there)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == there
    for family in families:
        loaded_there = np.load(tmp_path / family / "loaded_there.npy")
        np.testing.assert_allclose(loaded_there, expected[family], atol=1e-5)
        from_there = keras.models.load_model(tmp_path / family / "from_there.keras").predict_on_batch(images)
        np.testing.assert_allclose(from_there, np.load(tmp_path / family / "from_there.npy"), atol=1e-5)
        assert np.abs(from_there - expected[family]).max() > 1e-3  # it had weights of its own


def imports_of_backends(tree: ast.AST, *, is_in_branch: bool = False) -> Iterator[tuple[int, bool]]:
    """Line of each import of a backend, and whether it stands in a branch that asks for the backend."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            if any(name.partition(".")[0] in BACKENDS for name in names):
                yield node.lineno, is_in_branch
        asks = isinstance(node, ast.If | ast.Match) and "backend" in ast.dump(
            node.test if isinstance(node, ast.If) else node.subject
        )
        yield from imports_of_backends(node, is_in_branch=is_in_branch or asks)


def test_no_module_needs_one_backend():
    found = {
        path.relative_to(ROOT).as_posix(): list(imports_of_backends(ast.parse(path.read_text("utf-8"))))
        for folder in ("src", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
    }
    behind = {module: lines for module, lines in found.items() if lines}
    assert set(behind) == MODULES_THAT_LOOK_BEHIND_KERAS
    assert all(is_in_branch for lines in behind.values() for _, is_in_branch in lines)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import tensorflow", [(1, False)]),
        ("from jax import numpy", [(1, False)]),
        ("import jaxtyping, keras", []),
        ("if backend() == 'jax':\n    import jax", [(2, True)]),
        ("if x:\n    import jax", [(2, False)]),
        ("match backend():\n    case 'jax':\n        import jax.numpy as jnp", [(3, True)]),
    ],
)
def test_imports_of_backends_are_found(code, found):
    assert list(imports_of_backends(ast.parse(code))) == found
