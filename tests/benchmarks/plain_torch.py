"""A plain PyTorch loop over the same packed array with the same network and warps, as a contestant.

Run by a Python that has torch: `python -m tests.benchmarks.plain_torch '{"array": ...}'`. Needs torch and
numpy only. A turn is one epoch.
"""

import json
import math
import sys
import time
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]  # not in the lock
from torch import Tensor, nn  # type: ignore[import-not-found]
from torch.nn import functional  # type: ignore[import-not-found]
from torch.utils.data import DataLoader, Dataset  # type: ignore[import-not-found]

from tests.benchmarks.contestants import Turn, serve

WAYS = {"torch": torch.contiguous_format, "torch_channels_last": torch.channels_last}


def main() -> None:
    """Warm up, then train an epoch in the way that is asked for, whenever told to."""
    task = json.loads(sys.argv[1])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    turns = {way: _turn(task, device, layout) for way, layout in WAYS.items()}
    for turn in turns.values():
        for _ in range(task["num_warmups"]):
            turn()
    serve(turns, {"backend": "torch", "backend_version": torch.__version__, "device_kind": device.type})


def _turn(task: dict[str, Any], device: torch.device, layout: torch.memory_format) -> Turn:
    """Sets a network up; a turn trains it for an epoch."""
    network = build_network(task["network"], task["image_size"]).to(device, memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), lr=task["learning_rate"])
    loader = DataLoader(
        PackedImages(task["array"]),
        batch_size=task["batch_size"],
        shuffle=True,
        num_workers=task["num_loader_processes"],
        persistent_workers=task["num_loader_processes"] > 0,
        pin_memory=device.type == "cuda",
    )

    def turn() -> dict[str, Any]:
        start = time.perf_counter()
        for images, targets in loader:
            batch = images.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
            warped = warp(batch, task["augment"]).contiguous(memory_format=layout)
            logits = network(warped).squeeze(1)
            loss = functional.binary_cross_entropy_with_logits(logits, targets.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return {"images_per_second": task["num_images"] / (time.perf_counter() - start)}

    return turn


class PackedImages(Dataset):  # type: ignore[misc]
    """Images of a packed array with their targets; every fifth counts as malignant."""

    def __init__(self, path: str) -> None:
        """Map the array."""
        self._images = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.float32]:
        """Image `(size, size, 3)`, uint8, and target."""
        return np.array(self._images[row]), np.float32(row % 5 == 0)


def build_network(shape: dict[str, Any], image_size: int) -> nn.Module:
    """Blocks of 3 x 3 convolution, ReLU and 2 x 2 pooling, a dense layer, a logit.

    Args:
        shape: `filters` (a number a block) and `dense_units`.
        image_size: Pixels.
    """
    layers: list[nn.Module] = []
    channels, side = 3, image_size
    for filters in shape["filters"]:
        layers += [nn.Conv2d(channels, filters, 3), nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = filters, (side - 2) // 2
    units = shape["dense_units"]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(channels * side**2, units), nn.ReLU(), nn.Linear(units, 1)
    )


def warp(images: Tensor, amounts: dict[str, Any]) -> Tensor:
    """A random rotation, shift, zoom and flip of each image in one interpolation, borders reflected.

    Args:
        images: Shape `(batch, 3, size, size)`, float.
        amounts: `params.yaml: augment`.
    """
    number = len(images)
    angle, shift_x, shift_y, zoom = torch.rand(4, number, device=images.device) * 2 - 1
    angle = angle * math.radians(amounts["rotation_degrees"])
    scale = 1 + zoom * amounts["zoom_fraction"]
    flip_x, flip_y = torch.randint(0, 2, (2, number), device=images.device) * 2 - 1
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    shift_x = 2 * shift_x * amounts["horizontal_shift_fraction"]  # the grid's unit is half a side
    shift_y = 2 * shift_y * amounts["vertical_shift_fraction"]
    top = torch.stack([cosine * flip_x, -sine * flip_y, shift_x], dim=1)
    bottom = torch.stack([sine * flip_x, cosine * flip_y, shift_y], dim=1)
    grid = functional.affine_grid(torch.stack([top, bottom], dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


if __name__ == "__main__":
    main()
