"""Find the 64-bit hashes that lie within a few bits of each other, without comparing all pairs.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast exact search in Hamming space with multi-index
hashing", TPAMI 2014). A hash is cut into 4 chunks of 16 bits. Two hashes at most 7 bits apart have a
chunk in which they differ in at most one bit, so it is enough to compare those that share a chunk after at
most one flipped bit. The search is exact: no pair within the distance is missed.

Memory is linear in the number of hashes, as long as pairs are taken block by block. Time is linear too until
chunks get crowded (at 65,536 hashes there is one for each value of a chunk), and then grows with the square
of the number, with a small factor.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from tqdm import tqdm

NUM_CHUNKS, CHUNK_BITS = 4, 16
MAX_DISTANCE = 7  # the pigeonhole argument with one flipped bit holds up to here
BLOCK = 256  # images whose neighbours are searched at once
COMPARISONS = 2**20  # comparisons at once; bounds the memory of a step together with BLOCK


@dataclass(frozen=True)
class _Table:
    """All hashes sorted by one of their chunks.

    Attributes:
        shift: Offset of the chunk within the hash, in bits.
        flips: Masks to flip bits of a chunk before looking it up, uint64: 0 alone, or with each single bit;
            empty if nothing is to be looked up.
        rows: Original row of each sorted hash.
        hashes: Sorted by chunk, uint64.
        starts: Shape `(2**16 + 1,)`; chunk value v has the sorted places `starts[v]` to `starts[v + 1]`.
    """

    shift: np.uint64
    flips: np.ndarray
    rows: np.ndarray
    hashes: np.ndarray
    starts: np.ndarray


def neighbours(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """All pairs of `neighbour_blocks`, sorted: shape `(num_pairs, 2)`, int64, each pair once."""
    blocks = neighbour_blocks(hashes, max_distance)
    pairs = np.concatenate([np.empty((0, 2), np.int64), *blocks])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def neighbour_blocks(hashes: np.ndarray, max_distance: int) -> Iterator[np.ndarray]:
    """Yield pairs of images where the upright hash of one is near a hash of the other in any orientation.

    Pairs come in blocks, because where hashes crowd their number grows with the square of the images.

    Args:
        hashes: Shape `(num_images, num_orientations)`, uint64; column 0 is upright.
        max_distance: Maximum distance in bits, 0 to 7.

    Returns:
        For each `BLOCK` images an array of rows, shape `(num_pairs, 2)`, int64, sorted, the lower row first.
        A pair is in one block only.

    Raises:
        ValueError: `max_distance` is out of its range.
    """
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise ValueError(f"max_distance: expected 0 to {MAX_DISTANCE}, received {max_distance}")
    tables = _tables(np.ascontiguousarray(hashes[:, 0]), max_distance)
    starts = tqdm(range(0, len(hashes), BLOCK), desc="duplicates", unit="block", disable=None)
    return (_new_pairs(tables, hashes, start=start, max_distance=max_distance) for start in starts)


def _new_pairs(tables: list[_Table], hashes: np.ndarray, *, start: int, max_distance: int) -> np.ndarray:
    """Pairs that the images from `start` on find and earlier images did not."""
    num_images, num_orientations = hashes.shape
    queries = hashes[start : start + BLOCK]
    rows = np.repeat(np.arange(start, start + len(queries)), num_orientations)
    keys = [
        np.unique(low * num_images + high)  # several orientations may find the same pair
        for table in tables
        for low, high in _look_up(table, queries.ravel(), rows, max_distance=max_distance)
    ]
    low, high = np.divmod(np.unique(np.concatenate(keys)), num_images)
    was_found = low < start
    was_found[was_found] = _finds(hashes, low[was_found], high[was_found], max_distance=max_distance)
    return np.stack([low, high], axis=1)[~was_found]


def _finds(hashes: np.ndarray, rows: np.ndarray, others: np.ndarray, *, max_distance: int) -> np.ndarray:
    """Whether each of `rows`, in any orientation, is near the upright hash of `others`."""
    upright = hashes[others, 0]
    is_near = np.zeros(len(rows), bool)
    for orientation in hashes.T:  # one by one, to save memory
        is_near |= np.bitwise_count(orientation[rows] ^ upright) <= max_distance
    return is_near


def _tables(hashes: np.ndarray, max_distance: int) -> list[_Table]:
    """The tables to look in, the most crowded last, because the last needs the fewest look-ups.

    If two hashes differ in at most 4 q + a bits, then one of the first a + 1 chunks differs in at most q
    bits, or one of the others in at most q - 1.
    """
    shifts = [np.uint64(CHUNK_BITS * chunk) for chunk in range(NUM_CHUNKS)]
    shifts.sort(key=lambda shift: _crowding(hashes, shift))
    num_flipped, num_full = divmod(max_distance, NUM_CHUNKS)
    return [
        _sort_by_chunk(hashes, shift, num_flipped=num_flipped - (place > num_full))
        for place, shift in enumerate(shifts)
    ]


def _crowding(hashes: np.ndarray, shift: np.uint64) -> int:
    """Number of comparisons to look up every hash."""
    return int((np.bincount(_chunk(hashes, shift).astype(np.int64)) ** 2).sum())


def _sort_by_chunk(hashes: np.ndarray, shift: np.uint64, *, num_flipped: int) -> _Table:
    chunk = _chunk(hashes, shift)
    rows = np.argsort(chunk, kind="stable")
    starts = np.searchsorted(chunk[rows], np.arange(2**CHUNK_BITS + 1, dtype=np.uint64))
    flips = [0, *(2**bit for bit in range(CHUNK_BITS))][: (0, 1, None)[num_flipped + 1]]
    return _Table(shift, np.array(flips, np.uint64), rows, hashes[rows], starts)


def _chunk(hashes: np.ndarray, shift: np.uint64) -> np.ndarray:
    return (hashes >> shift) & np.uint64(2**CHUNK_BITS - 1)


def _look_up(
    table: _Table, queries: np.ndarray, rows: np.ndarray, *, max_distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (lower, higher) of queries and hashes within `max_distance` that share their chunk."""
    values = (_chunk(queries, table.shift)[:, None] ^ table.flips).ravel()
    queries, rows = (np.repeat(each, len(table.flips)) for each in (queries, rows))
    begins = table.starts[values]
    counts = table.starts[values + np.uint64(1)] - begins
    for part in _parts(counts):
        query = np.repeat(queries[part], counts[part])
        place = _ranges(begins[part], counts[part])
        hits = np.flatnonzero(np.bitwise_count(query ^ table.hashes[place]) <= max_distance)
        row = np.repeat(rows[part], counts[part])[hits]
        other = table.rows[place[hits]]
        is_other = row != other
        row, other = row[is_other], other[is_other]
        yield np.minimum(row, other), np.maximum(row, other)


def _parts(counts: np.ndarray) -> Iterator[slice]:
    """Slices of look-ups with about `COMPARISONS` hashes to compare in each."""
    done = np.cumsum(counts)
    cuts = np.searchsorted(done, np.arange(COMPARISONS, counts.sum(), COMPARISONS))
    bounds = np.unique([0, *cuts, len(counts)])
    return (slice(first, last) for first, last in pairwise(bounds))


def _ranges(begins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`begins[0], begins[0] + 1, …` (`counts[0]` numbers), then those from `begins[1]`, and so on."""
    first = np.cumsum(counts) - counts
    return np.arange(counts.sum()) + np.repeat(begins - first, counts)
