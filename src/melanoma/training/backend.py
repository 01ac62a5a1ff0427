"""Backend, device and memory that Keras computes with, as logged with every run.

TensorFlow or JAX are asked only for what Keras does not tell.
"""

import importlib
import platform
import subprocess
from pathlib import Path

import keras
import psutil

from melanoma.execution import devices

MIB = 2**20


def describe() -> dict[str, str | int]:
    """Backend, versions and device of this process.

    Returns:
        `backend` and `backend_version`, `keras_version`, `device_kind` (`cpu`, `gpu`), `num_devices` (that
        the backend may use), `device_name` and `device_memory_mib` of the first one (on a CPU: the
        machine's memory), `num_cores` that it may use. Name and memory of a GPU are asked of `nvidia-smi`;
        where it does not answer, the name is `unknown` and the memory is left out.
    """
    name = keras.backend.backend()
    listed = keras.distribution.list_devices()  # "gpu:0" and so on, never of two kinds
    kind = listed[0].partition(":")[0]
    return {
        "backend": name,
        "backend_version": importlib.import_module(name).__version__,
        "keras_version": keras.__version__,
        "device_kind": kind,
        "num_devices": len(listed),
        **(_describe_cpu() if kind == "cpu" else _describe_gpu()),
        "num_cores": devices.num_cores(),
    }


def has_gpu() -> bool:
    """Whether the backend of Keras sees a GPU."""
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; False where the system does not say."""
    flags = next(
        (value for key, _, value in _read_lines(Path("/proc/cpuinfo")) if key.strip() == "flags"), ""
    )
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())


def _describe_cpu() -> dict[str, str | int]:
    return {"device_name": _cpu_name(), "device_memory_mib": psutil.virtual_memory().total // MIB}


def _cpu_name() -> str:
    lines = _read_lines(Path("/proc/cpuinfo"))
    names = (value.strip() for key, _, value in lines if key.strip() == "model name")
    return next(names, platform.processor() or platform.machine())


def _describe_gpu() -> dict[str, str | int]:
    try:
        first, *_ = devices.find_gpus()
        done = subprocess.run(
            ["nvidia-smi", f"--id={first}", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            check=True,
        )
        name, memory_mib = done.stdout.strip().rsplit(", ", 1)
        return {"device_name": name, "device_memory_mib": int(memory_mib)}
    except (OSError, subprocess.SubprocessError, ValueError):
        return {"device_name": "unknown"}


def peak_memory_mib() -> dict[str, int]:
    """Peak memory of this process so far.

    Returns:
        `peak_memory_mib` of the machine's memory, the libraries included; on a GPU also
        `peak_device_memory_mib` of arrays there, where the backend tells. Both count from the start of the
        process, so that a later training in it shows the highest of all before.
    """
    peaks = {"peak_memory_mib": _peak_resident_mib()}
    device_bytes = _peak_device_bytes()
    if device_bytes is not None:
        peaks["peak_device_memory_mib"] = device_bytes // MIB
    return peaks


def _peak_resident_mib() -> int:
    # Not getrusage: its maximum is inherited from the process that started this one.
    lines = _read_lines(Path("/proc/self/status"))
    kib = (int(value.split()[0]) for key, _, value in lines if key == "VmHWM")
    return next(kib, psutil.Process().memory_info().rss // 1024) // 1024


def _peak_device_bytes() -> int | None:
    if not has_gpu():
        return None
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf  # noqa: PLC0415  # only where it is the backend

            return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
        case "jax":
            import jax  # noqa: PLC0415  # only where it is the backend

            statistics = jax.local_devices()[0].memory_stats() or {}
            return statistics.get("peak_bytes_in_use")
    return None


def _read_lines(path: Path) -> list[tuple[str, str, str]]:
    """The lines `key: value` of a file in /proc, split; none on another system."""
    if not path.exists():
        return []
    return [line.partition(":") for line in path.read_text(encoding="utf-8").splitlines()]
