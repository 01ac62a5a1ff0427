"""A training in deterministic mode, in processes of their own: twice, and once with a SIGKILL in between."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.imports import ROOT

pytestmark = pytest.mark.slow

TIMES = {"duration_seconds", "images_per_second"}


@pytest.fixture(scope="module")
def folder(bright_or_dark, tmp_path_factory):
    """Makes the folder of a training, with its images."""
    top = tmp_path_factory.mktemp("trainings")

    def make(name: str) -> Path:
        made = top / name
        made.mkdir()
        arrays: dict[str, np.ndarray] = {}
        for split in ("train", "validation"):
            part = getattr(bright_or_dark, split)
            arrays |= {f"{split}_images": part.images, f"{split}_targets": part.targets}
        np.savez(made / "images.npz", allow_pickle=False, **arrays)
        return made

    return make


def run_child(folder: Path, *arguments: str) -> int:
    """Train in `folder`; the exit code."""
    command = [sys.executable, "-m", "tests.training.child", str(folder), str(folder / "out.npz")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([*command, *arguments], cwd=ROOT, env=environment, check=False).returncode


@pytest.fixture(scope="module")
def straight(folder):
    """Six epochs without a break: what came out."""
    made = folder("straight")
    assert run_child(made) == 0
    return np.load(made / "out.npz")


def assert_the_same(one, other) -> None:
    assert set(one.files) == set(other.files)
    for name in set(one.files) - TIMES:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_the_same_seed_gives_the_same_weights_bit_by_bit(folder, straight):
    again = folder("again")
    assert run_child(again) == 0
    assert_the_same(np.load(again / "out.npz"), straight)


def test_a_killed_training_is_gone_on_with_and_ends_bit_by_bit_as_one_without_a_break(folder, straight):
    killed = folder("killed")
    assert run_child(killed, "4") == -signal.SIGKILL
    assert sorted(path.name for path in killed.iterdir()) == ["images.npz", "state.npz"]
    assert run_child(killed, "3") == 0  # would be killed in its third epoch, which is over
    assert_the_same(np.load(killed / "out.npz"), straight)
    assert straight["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
