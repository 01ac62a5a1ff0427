"""`pack` on full-size originals against a loop with Pillow, and its pixels against the server's."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from melanoma.config.data import Execution
from melanoma.data import images, packed, packing
from tests.benchmarks import bench_pictures
from tests.benchmarks.contestants import Turn, alternate
from tests.benchmarks.rows import Ratio, Row, Spread, ratios
from tests.benchmarks.sizes import Size

PART = "pack"
MIN_RATIO = 2.0


def measure(size: Size, folder: Path) -> list[Row]:
    """Rows of milliseconds an image, and of pixels that are the server's."""
    what, files = bench_pictures.jpegs("isic_originals", folder, num_images=size.pack_images, drawn_side=2000)
    many = _repeated(files, size.pack_repeats, folder / "originals")
    side = size.image_size
    _pack(files, folder / "packed", size=side, num_workers=0)()  # starts what later processes are forked from
    ways: dict[str, Callable[[], object]] = {
        "pack, a process for each core": _pack(many, folder / "packed", size=side, num_workers=0),
        "pack, one process": _pack(many, folder / "packed_1", size=side, num_workers=1),
        "Pillow loop at reduced scale": partial(_pillow_loop, many, folder, size=side, is_reduced=True),
    }
    few = {"pack, a process for each core": _pack(files, folder / "packed_few", size=side, num_workers=0)}
    return [
        *_speeds(
            many, ways, folder, size=size, note=f"{len(many)} JPEG files: {len(files)} {what}, repeated"
        ),
        *_speeds(files, few, folder, size=size, note=f"{len(files)} files: the start of processes weighs"),
        _identical(what, many, folder / "packed", size=side),
        _identical(what, many, folder / "packed_1", size=side),
        *_others(size, folder),
    ]


def _repeated(files: list[Path], num_times: int, folder: Path) -> list[Path]:
    """Links to all files, so often: a stage packs thousands, and is not over before its processes run."""
    folder.mkdir()
    links = [folder / f"{number}-{file.name}" for number in range(num_times) for file in files]
    for link, file in zip(links, files * num_times, strict=True):
        link.symlink_to(file.resolve())
    return links


def _speeds(
    paths: list[Path], ways: dict[str, Callable[[], object]], folder: Path, *, size: Size, note: str
) -> list[Row]:
    """The plain loop, and each way beside it; the first has a target where files are many."""
    plain = "plain Pillow loop"
    works: dict[str, Callable[[], object]] = {
        plain: partial(_pillow_loop, paths, folder, size=size.image_size, is_reduced=False),
        **ways,
    }
    answers = alternate({name: _timed(work, len(paths)) for name, work in works.items()}, size.pack_rounds)
    spent = {name: [answer["milliseconds"] for answer in told] for name, told in answers.items()}
    rows = [Row(PART, plain, "ms an image", Spread.of(spent[plain]), note=note)]
    for name in ways:
        at_least = MIN_RATIO if name == next(iter(ways)) and len(ways) > 1 else None
        ratio = ratios(spent[plain], spent[name], to="as fast", at_least=at_least)
        rows.append(Row(PART, name, "ms an image", Spread.of(spent[name]), ratio))
    return rows


def _pack(paths: list[Path], out: Path, *, size: int, num_workers: int) -> Callable[[], object]:
    assigned, records = bench_pictures.tables(paths, np.zeros(len(paths), int))
    execution = Execution(backend="processes", num_workers=num_workers, ray_address=None)
    return lambda: packing.pack(assigned, records, out, sizes=[size], execution=execution)


def _pillow_loop(paths: list[Path], folder: Path, *, size: int, is_reduced: bool) -> None:
    """Open, decode, resize, stack, save."""
    squares = []
    for path in paths:
        with Image.open(path) as image:
            if is_reduced:
                image.draft("RGB", (2 * size, 2 * size))
            square = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        squares.append(np.asarray(square))
    np.save(folder / "loop.npy", np.stack(squares))


def _timed(work: Callable[[], object], num_images: int) -> Turn:
    def turn() -> dict[str, Any]:
        start = time.perf_counter()
        work()
        return {"milliseconds": (time.perf_counter() - start) * 1000 / num_images}

    return turn


def _identical(what: str, paths: list[Path], out: Path, *, size: int) -> Row:
    """How many rows of the packed array are what the server would decode from the same file."""
    array = np.load(out / packed.images_name(size), mmap_mode="r")
    same = sum(
        np.array_equal(row, images.load_square(path.read_bytes(), size))
        for row, path in zip(array, paths, strict=True)
    )
    share = same / len(paths)
    ratio = Ratio(share, share, share, to=f"of {len(paths)}", at_least=1.0)
    return Row(PART, f"pixels as the server's ({what}, {out.name})", "images", Spread.of([same]), ratio)


def _others(size: Size, folder: Path) -> list[Row]:
    """The same of the smaller images."""
    num_images = 10_000 if size.pack_images > 10 else size.pack_images
    what, paths = bench_pictures.jpegs("isic", folder, num_images=num_images, drawn_side=256)
    other, others, _ = bench_pictures.labelled(folder, num_images=min(num_images, 200))
    rows = []
    for name, files in ((what, paths), (other, others)):
        _pack(files, folder / "packed_small", size=size.image_size, num_workers=0)()
        rows.append(_identical(name, files, folder / "packed_small", size=size.image_size))
    return rows
