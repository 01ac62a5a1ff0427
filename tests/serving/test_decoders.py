"""Decoder processes: the pixels of this process, and an end to whatever takes too long or too much."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from melanoma.data.crops import Box
from melanoma.data.images import load_crop, load_square
from melanoma.errors import ImageError
from melanoma.serving.admission import Work, WorkEnded
from melanoma.serving.decoders import DecoderPool
from melanoma.serving.decoding import IN_PROCESS, Job
from tests.data.pictures import encode
from tests.data.zoo import skin

MOST = 30_000_000
SECONDS = 60


@pytest.fixture(scope="module")
def pool():
    made = DecoderPool(2, max_pixels=MOST, job_seconds=20)
    assert not made.decoders  # none before the first job
    yield made
    made.close()


@pytest.fixture(scope="module")
def files():
    return [
        encode(skin(seed, height=200, width=300), name) for seed, name in enumerate(("JPEG", "PNG", "BMP"))
    ]


def test_decoders_give_the_pixels_of_this_process(pool, files):
    jobs = [Job(encoded, size, MOST) for encoded in files for size in (32, 150)]
    jobs += [Job(encoded, 64, MOST, Box(0.2, 0.3, 0.55, 0.7), 1 / 7) for encoded in files]
    squares = pool.squares(jobs, Work(SECONDS))
    for job, square, here in zip(jobs, squares, IN_PROCESS.squares(jobs), strict=True):
        expected = (
            load_square(job.encoded, job.size)
            if job.box is None
            else load_crop(job.encoded, job.size, job.box, margin_fraction=job.margin_fraction)
        )
        np.testing.assert_array_equal(square, expected)
        np.testing.assert_array_equal(here, expected)


@pytest.mark.parametrize("encoded", [b"", b"no image", encode(skin(1), "JPEG")[:3000]])
def test_decoders_refuse_in_the_words_of_this_process(pool, encoded):
    job = Job(encoded, 32, MOST)
    (refused,), (here,) = pool.squares([job], Work(SECONDS)), IN_PROCESS.squares([job])
    assert isinstance(refused, ImageError)
    assert str(refused) == str(here)


def test_more_pixels_than_allowed_are_refused_in_both(pool, files):
    job = Job(files[0], 32, 200 * 300 - 1)
    for decoding in (pool.squares([job], Work(SECONDS)), IN_PROCESS.squares([job])):
        assert str(decoding[0]) == "the image has 300 x 200 pixels, more than 59,999"
    assert isinstance(pool.squares([Job(files[0], 32, 200 * 300)], Work(SECONDS))[0], np.ndarray)


def test_many_threads_get_their_own_pixels(pool, files):
    expected = [load_square(encoded, 48) for encoded in files]

    def ask(number: int) -> None:
        (square,) = pool.squares([Job(files[number % 3], 48, MOST)], Work(SECONDS))
        np.testing.assert_array_equal(square, expected[number % 3])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, range(60)))


def slow() -> bytes:
    return encode(Image.new("RGB", (5400, 5400)), "WEBP", lossless=True)


def test_work_that_nobody_wants_any_more_stops_within_a_moment(pool, files):
    jobs, work = [Job(slow(), 32, MOST)] * 50, Work(SECONDS)
    pool.start()
    before = set(pool.decoders)
    threading.Timer(0.5, work.end).start()
    start = time.monotonic()
    with pytest.raises(WorkEnded):
        pool.squares(jobs, work)
    assert time.monotonic() - start < 5  # 50 of them take half a minute
    time.sleep(0.5)
    assert pool.decoders != before  # which were killed
    assert len(pool.decoders) == 2
    assert isinstance(pool.squares([Job(files[0], 32, MOST)], Work(SECONDS))[0], np.ndarray)


def test_work_ends_at_its_deadline(pool):
    start = time.monotonic()
    with pytest.raises(WorkEnded):
        pool.squares([Job(slow(), 32, MOST)] * 50, Work(0.5))
    assert time.monotonic() - start < 5


def test_a_decoder_that_takes_too_much_memory_refuses_and_lives():
    small = DecoderPool(1, max_pixels=1, job_seconds=20)  # 768 MiB and no more
    small.start()
    try:
        (before,) = small.decoders
        huge = encode(Image.new("RGB", (8000, 8000), (200, 150, 130)), "WEBP", lossless=True)
        assert len(huge) < 4000
        (refused,) = small.squares([Job(huge, 32, 64_000_000)], Work(SECONDS))  # takes a gigabyte
        assert isinstance(refused, ImageError)
        (square,) = small.squares([Job(encode(skin(1), "JPEG"), 32, MOST)], Work(SECONDS))
        assert isinstance(square, np.ndarray)
        assert before in small.decoders or before.process.poll() is not None
    finally:
        small.close()


def test_an_image_that_takes_too_much_time_is_refused():
    short = DecoderPool(1, max_pixels=MOST, job_seconds=1)
    try:
        (refused,) = short.squares([Job(very_slow(), 32, MOST)], Work(SECONDS))
        assert "needs too much memory or time" in str(refused)
        (square,) = short.squares([Job(encode(skin(1), "JPEG"), 32, MOST)], Work(SECONDS))
        assert isinstance(square, np.ndarray)
    finally:
        short.close()


def very_slow() -> bytes:
    """29 million pixels of noise in a progressive JPEG: seconds."""
    noise = np.random.default_rng(1).integers(0, 255, size=(1350, 1350, 3), dtype=np.uint8)
    return encode(Image.fromarray(np.tile(noise, (4, 4, 1))), "JPEG", progressive=True, quality=90)


def test_a_decoder_that_was_killed_is_replaced(pool, files):
    pool.start()
    for decoder in list(pool.decoders):
        decoder.process.kill()
    answers = [pool.squares([Job(files[0], 32, MOST)], Work(SECONDS))[0] for _ in range(5)]
    assert sum(isinstance(answer, ImageError) for answer in answers) <= 2
    assert isinstance(answers[-1], np.ndarray)


def test_decoders_know_no_secrets_and_load_little(pool, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    other = DecoderPool(1, max_pixels=MOST, job_seconds=20)
    other.start()
    try:
        process = psutil.Process(next(iter(other.decoders)).process.pid)
        other.squares([Job(encode(skin(1), "JPEG"), 32, MOST)], Work(SECONDS))
        assert "MLFLOW_TRACKING_TOKEN" not in process.environ()
        loaded = {mapped.path for mapped in process.memory_maps()}
        assert not [path for path in loaded if "onnxruntime" in path or "pandas" in path]
        assert process.num_threads() == 1
    finally:
        other.close()
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_closing_ends_all_decoders():
    closed = DecoderPool(2, max_pixels=MOST, job_seconds=20)
    closed.start()
    processes = [decoder.process for decoder in closed.decoders]
    closed.close()
    assert all(process.poll() is not None for process in processes)
