from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from melanoma.training import checkpoints
from melanoma.training.checkpoints import State, problem_digest
from melanoma.training.recipe import Arrays

HISTORY = pd.DataFrame({"epoch": [1, 2], "loss": [0.1 + 0.2, 1 / 3], "val_auc_roc": [0.5, np.nan]})


@pytest.fixture
def state():
    network = [np.full((2, 3), 0.1, np.float32), np.array([7, 8], np.uint32)]
    optimizer = [np.array(12), *(np.full(3, number, np.float32) for number in range(12))]
    return State("abc", HISTORY, network, optimizer, network[:1], network[1:])


def test_what_was_saved_is_loaded_to_the_last_bit(state, tmp_path):
    checkpoints.save(state, tmp_path / "below" / "state.npz")
    loaded = checkpoints.load(tmp_path / "below" / "state.npz", "abc")
    pd.testing.assert_frame_equal(loaded.history, HISTORY, check_exact=True)
    for kind in checkpoints.VARIABLES:
        before, after = getattr(state, kind), getattr(loaded, kind)
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_where_nothing_is_nothing_is_found(tmp_path):
    assert checkpoints.load(tmp_path / "state.npz", "abc") is None


def test_the_checkpoint_of_another_problem_is_set_aside_with_one_line(state, tmp_path, caplog):
    path = tmp_path / "state.npz"
    checkpoints.save(state, path)
    content = path.read_bytes()
    assert checkpoints.load(path, "another") is None
    assert not path.exists()
    assert (tmp_path / "state.npz.aside").read_bytes() == content
    (line,) = caplog.messages
    assert (
        f"{path} was made with other images, parameters or code. Training starts from the beginning" in line
    )


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_broken_checkpoint_is_set_aside_too(state, tmp_path, caplog, content):
    path = tmp_path / "state.npz"
    checkpoints.save(state, path)
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    assert checkpoints.load(path, "abc") is None
    assert "cannot be read" in caplog.text
    assert not path.exists()


def test_a_write_that_fails_leaves_the_one_before(state, tmp_path):
    path = tmp_path / "state.npz"
    checkpoints.save(state, path)

    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        checkpoints.save(replace(state, best=[Broken()]), path)
    assert checkpoints.load(path, "abc") is not None
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


def test_the_same_problem_has_the_same_digest_wherever_its_images_lie(bright_or_dark, recipe):
    part = bright_or_dark.train
    moved = replace(part, images=part.take(slice(None))[::-1], rows=np.arange(len(part))[::-1])
    digests = {
        problem_digest(arrays, recipe, num_epochs=4, seed=1)
        for arrays in (bright_or_dark, Arrays(moved, bright_or_dark.holdout))
    }
    assert len(digests) == 1


def test_whatever_changes_the_network_changes_the_digest(bright_or_dark, recipe, monkeypatch):
    part = bright_or_dark.holdout
    brighter = replace(part, images=part.images | 1)
    turned = replace(part, targets=1 - part.targets)
    digests = [
        problem_digest(bright_or_dark, recipe, num_epochs=4, seed=1),
        problem_digest(bright_or_dark, recipe, num_epochs=5, seed=1),
        problem_digest(bright_or_dark, recipe, num_epochs=4, seed=2),
        *(
            problem_digest(replace(bright_or_dark, holdout=other), recipe, num_epochs=4, seed=1)
            for other in (brighter, turned)
        ),
        *(
            problem_digest(bright_or_dark, changed, num_epochs=4, seed=1)
            for changed in (
                replace(recipe, hyperparameters=recipe.hyperparameters.model_copy(update={"dropout": 0.1})),
                replace(recipe, model=recipe.model.model_copy(update={"num_views": 9})),
                replace(recipe, augment=recipe.augment.model_copy(update={"flips": False})),
                replace(recipe, train=recipe.train.model_copy(update={"patience": 5})),
            )
        ),
    ]
    monkeypatch.setattr(checkpoints, "code_digest", lambda: "other code")
    digests.append(problem_digest(bright_or_dark, recipe, num_epochs=4, seed=1))
    assert len(set(digests)) == 10


@pytest.mark.parametrize(
    "change", [{"num_seeds": 9}, {"seed": 9}, {"checkpoints": "elsewhere"}, {"num_loader_threads": 1}]
)
def test_what_does_not_change_the_network_does_not_change_the_digest(bright_or_dark, recipe, change):
    changed = replace(recipe, train=recipe.train.model_copy(update=change))
    digests = {problem_digest(bright_or_dark, one, num_epochs=4, seed=1) for one in (recipe, changed)}
    assert len(digests) == 1
