import importlib.metadata
import os
import stat
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest

from melanoma.training import backend


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    """As if Keras saw two GPUs; `two_gpus(script)` is what `nvidia-smi` does."""
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0", "gpu:1"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5,GPU-7")
    monkeypatch.setenv("PATH", str(tmp_path))

    def answer(script: str) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)

    return answer


def test_the_backend_is_the_one_that_was_asked_for():
    asked_for = os.environ.get("KERAS_BACKEND", "tensorflow")
    described = backend.describe()
    assert described["backend"] == asked_for
    assert described["backend_version"] == importlib.metadata.version(asked_for)
    assert described["keras_version"] == keras.__version__


def test_a_cpu_is_described_by_its_name_its_cores_and_the_memory_of_the_machine(monkeypatch):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    described = backend.describe()
    assert (described["device_kind"], described["num_devices"]) == ("cpu", 1)
    assert described["device_memory_mib"] == psutil.virtual_memory().total // 2**20
    assert 1 <= int(described["num_cores"]) <= (os.cpu_count() or 1)
    assert described["device_name"]
    assert str(described["device_name"]) in Path("/proc/cpuinfo").read_text()


def test_the_first_of_two_gpus_is_described_by_its_driver(two_gpus):
    two_gpus('[ "$1" = "--id=GPU-5" ] && echo "NVIDIA H100, 80GB HBM3, 81559"')
    described = backend.describe()
    assert (described["device_kind"], described["num_devices"]) == ("gpu", 2)
    assert described["device_name"] == "NVIDIA H100, 80GB HBM3"
    assert described["device_memory_mib"] == 81559


@pytest.mark.parametrize("script", [None, "exit 9", "echo no such thing", "echo 'Orin, [N/A]'"])
def test_a_gpu_whose_driver_does_not_answer_has_no_memory_of_a_known_size(two_gpus, script):
    if script is not None:
        two_gpus(script)
    described = backend.describe()
    assert described["device_name"] == "unknown"
    assert "device_memory_mib" not in described


def test_the_peak_of_memory_holds_what_was_given_back():
    def held_mib() -> int:
        return psutil.Process().memory_info().rss // 2**20

    before = backend.peak_memory_mib()["peak_memory_mib"]
    filled = []
    # Measured anew each time: what earlier tests left may be given back meanwhile.
    while held_mib() < before + 64:
        filled.append(np.ones(40 * 2**20, np.uint8))
    filled.clear()
    after = backend.peak_memory_mib()["peak_memory_mib"]
    assert before + 32 <= after <= before + 128
    assert held_mib() < after - 32


def test_the_memory_of_a_cpu_is_not_counted_twice():
    if backend.describe()["device_kind"] == "cpu":
        assert set(backend.peak_memory_mib()) == {"peak_memory_mib"}
    else:
        assert backend.peak_memory_mib()["peak_device_memory_mib"] > 0
