import numpy as np
import pytest

from melanoma.data.groups import hamming

NUM_ORIENTATIONS = 8


def random_hashes(num_images: int, *, seed: int = 0) -> np.ndarray:
    """Hashes that are nothing like each other, one column an orientation."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 2**64, size=(num_images, NUM_ORIENTATIONS), dtype=np.uint64)


def crowded_hashes(num_images: int) -> np.ndarray:
    """Few bits vary, so that thousands share a chunk, as dark blobs in the middle of bright skin do."""
    return random_hashes(num_images, seed=1) & np.uint64(0x0101_0303_0707_0F0F)


def flip(value: np.uint64, bits: np.ndarray) -> np.uint64:
    return value ^ np.bitwise_or.reduce(np.left_shift(np.uint64(1), bits.astype(np.uint64)))


def with_planted(hashes: np.ndarray, num_pairs: int) -> np.ndarray:
    """`num_pairs` rows get a neighbour 0 to 7 bits away, each in some orientation."""
    generator = np.random.default_rng(2)
    planted = hashes.copy()
    for number in range(num_pairs):
        bits = generator.permutation(64)[: number % 8]
        planted[-1 - number, number % NUM_ORIENTATIONS] = (
            flip(hashes[number, 0], bits) if len(bits) else hashes[number, 0]
        )
    return planted


def by_comparing_all(hashes: np.ndarray, max_distance: int) -> list[tuple[int, int]]:
    """The slow way: each with each, in each orientation."""
    apart = np.bitwise_count(hashes[:, :1, None] ^ hashes.T[None]).min(axis=1)
    rows, others = np.nonzero(np.minimum(apart, apart.T) <= max_distance)
    return [(row, other) for row, other in zip(rows.tolist(), others.tolist(), strict=True) if row < other]


def found(hashes: np.ndarray, max_distance: int) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in hamming.neighbours(hashes, max_distance).tolist()]


@pytest.mark.parametrize("max_distance", range(8))
def test_all_neighbours_are_found_and_nothing_else(max_distance):
    hashes = with_planted(random_hashes(600), 160)
    pairs = found(hashes, max_distance)
    assert pairs == by_comparing_all(hashes, max_distance)
    assert len(pairs) == 20 * (max_distance + 1)


@pytest.mark.parametrize("max_distance", [0, 2, 3, 5, 6, 7])
def test_all_are_found_among_hashes_that_crowd(max_distance):
    hashes = with_planted(crowded_hashes(400), 80)
    pairs = found(hashes, max_distance)
    assert pairs == by_comparing_all(hashes, max_distance)
    assert len(pairs) > 80 * max_distance // 8


def test_the_size_of_the_steps_changes_nothing(monkeypatch):
    hashes = with_planted(crowded_hashes(300), 40)
    whole = found(hashes, 6)
    monkeypatch.setattr(hamming, "BLOCK", 7)
    monkeypatch.setattr(hamming, "COMPARISONS", 100)
    assert found(hashes, 6) == whole != []


@pytest.mark.parametrize("max_distance", [0, 3, 6, 7])
@pytest.mark.parametrize("block", [1, 7, 300])
def test_over_all_blocks_each_pair_comes_once(monkeypatch, max_distance, block):
    monkeypatch.setattr(hamming, "BLOCK", block)
    hashes = with_planted(crowded_hashes(300), 80)
    blocks = list(hamming.neighbour_blocks(hashes, max_distance))
    assert len(blocks) == -(-300 // block)
    pairs = [tuple(pair) for pairs in blocks for pair in pairs.tolist()]
    assert sorted(pairs) == by_comparing_all(hashes, max_distance) != []


@pytest.mark.parametrize(("near_in", "num_by_block"), [((0, 1), [1, 0]), ((1, 0), [0, 1])])
def test_a_pair_comes_in_the_block_of_the_image_that_finds_it_first(monkeypatch, near_in, num_by_block):
    """One's third orientation is the other's upright one, and not the other way round."""
    monkeypatch.setattr(hamming, "BLOCK", 1)
    hashes = random_hashes(2)
    row, other = near_in
    hashes[row, 3] = hashes[other, 0]
    blocks = list(hamming.neighbour_blocks(hashes, 6))
    assert [len(pairs) for pairs in blocks] == num_by_block
    assert np.concatenate(blocks).tolist() == [[0, 1]]


@pytest.mark.parametrize("num_images", [0, 1])
def test_few_images_have_no_neighbours(num_images):
    assert hamming.neighbours(random_hashes(num_images), 6).shape == (0, 2)


def test_an_image_is_no_neighbour_of_itself_however_symmetric():
    symmetric = np.full((1, NUM_ORIENTATIONS), 5, np.uint64)
    assert found(symmetric, 6) == []
    assert found(np.repeat(symmetric, 3, axis=0), 6) == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize("max_distance", [-1, 8])
def test_a_distance_that_the_search_cannot_promise_is_refused(max_distance):
    with pytest.raises(ValueError, match=rf"max_distance: expected 0 to 7, received {max_distance}"):
        hamming.neighbours(random_hashes(2), max_distance)
