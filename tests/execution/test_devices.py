import os

import pytest

from melanoma.execution.devices import find_gpus, num_cores


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Puts a program of this name first on the path that answers what it is told, and nothing else there."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(answer: str, *, code: int = 0) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(
            f"#!/bin/sh\n[ \"$1\" = --query-gpu=uuid ] || exit 9\nprintf '{answer}'\nexit {code}\n"
        )
        program.chmod(0o755)

    return install


def test_without_the_tool_of_the_driver_there_are_none(nvidia_smi):
    assert find_gpus() == []


def test_the_tool_names_them(nvidia_smi):
    nvidia_smi("GPU-1a\\nGPU-2b\\n")
    assert find_gpus() == ["GPU-1a", "GPU-2b"]


def test_a_tool_that_fails_for_want_of_a_driver_finds_none(nvidia_smi):
    nvidia_smi("NVIDIA-SMI has failed\\n", code=9)
    assert find_gpus() == []


@pytest.mark.parametrize(
    ("allowed", "names"),
    [("1", ["1"]), ("0,2", ["0", "2"]), (" GPU-1a , GPU-2b", ["GPU-1a", "GPU-2b"]), ("0,-1,2", ["0"])],
)
def test_what_the_user_allows_has_the_last_word(nvidia_smi, monkeypatch, allowed, names):
    nvidia_smi("GPU-1a\\nGPU-2b\\nGPU-3c\\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert find_gpus() == names


@pytest.mark.parametrize("forbidden", ["", "-1"])
def test_all_can_be_hidden(nvidia_smi, monkeypatch, forbidden):
    nvidia_smi("GPU-1a\\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", forbidden)
    assert find_gpus() == []


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= num_cores() <= (os.cpu_count() or 1)
