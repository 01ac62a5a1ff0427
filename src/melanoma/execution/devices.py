"""GPUs and cores, and their sharing between processes; loads no machine-learning library."""

import os
import shutil
import subprocess


def find_gpus() -> list[str]:
    """Names of the GPUs, as CUDA_VISIBLE_DEVICES takes them; none where there is no driver.

    CUDA_VISIBLE_DEVICES, where it is set, has the last word. Else NVIDIA's own tool is asked, for UUIDs:
    it numbers cards by their place on the bus, CUDA by their speed.
    """
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return _visible(allowed)
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(
        ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [] if listing.returncode else listing.stdout.split()


def num_cores() -> int:
    """Cores that this process may use, where the system tells; else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_settings(num_threads: int) -> dict[str, str]:
    """Number of threads of numerical libraries and TensorFlow, unless the user has set it."""
    return _unless_set({"OMP_NUM_THREADS": str(num_threads), "TF_NUM_INTRAOP_THREADS": str(num_threads)})


def device_settings(num_sharing: int = 1) -> dict[str, str]:
    """Allocate GPU memory as needed, not all at the start, and on JAX up to a share."""
    settings = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # numbers mean the same cards as in nvidia-smi
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    if num_sharing > 1:
        settings["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{1 / num_sharing:.2f}"
    return _unless_set(settings)


def _unless_set(settings: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in settings.items() if name not in os.environ}


def _visible(allowed: str) -> list[str]:
    """CUDA sees the devices before the first invalid name, usually -1."""
    names = []
    for name in (part.strip() for part in allowed.split(",")):
        if name in ("", "-1"):
            break
        names.append(name)
    return names
