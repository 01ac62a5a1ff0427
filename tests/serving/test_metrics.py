"""What a server counts: each request once, by few words, as the sum of all of its processes."""

import base64
import errno
import io
import os
import random
import socket
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from mlflow.exceptions import MlflowException
from PIL import Image

from melanoma.data.plausibility import require_plausible
from melanoma.errors import ImageError, TrackingError
from melanoma.serving import bodies, metrics, metrics_folder, metrics_prometheus
from melanoma.serving.decoding import Job, decode_or_refuse
from melanoma.serving.metrics import METRICS_HOST, METRICS_PORT, OFF, REASONS, reason_of
from melanoma.serving.metrics_folder import FOLDER
from melanoma.serving.metrics_prometheus import PrometheusMetrics
from melanoma.serving.posted import RequestError, parse, require_affordable, require_json, rows_refused
from melanoma.serving.records import Recorded
from tests.end_to_end.clone import free_port
from tests.serving.asgi import ask, front, posted
from tests.serving.conftest import LIMITS
from tests.serving.scrapes import changed, scrape, scrape_until

MODEL = Recorded("melanoma-sample", "3", "ab" * 32, 1)


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """No settings of metrics, and temporary files of its own; undone afterwards."""
    from prometheus_client import values

    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv(FOLDER, "x")  # so that it is restored
    for name in (FOLDER, METRICS_PORT, METRICS_HOST):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return monkeypatch


@pytest.fixture
def count(environment, tmp_path):
    """Makes metrics on a free port, which are closed afterwards."""
    made: list[PrometheusMetrics] = []
    port, folder = free_port(), tmp_path / "metrics"
    folder.mkdir()

    def make(recorder=None, host="127.0.0.1"):
        made.append(PrometheusMetrics(host, port, folder, model=MODEL, recorder=recorder))
        return made[-1]

    yield SimpleNamespace(make=make, port=port, folder=folder)
    for one in made:
        end(one)


def end(one):
    """Stop to serve and to hold the lock, as the end of its process does."""
    if one._server is not None:
        one._server.shutdown()
        one._server.server_close()
        one._server = None
    if one._lock is not None:
        os.close(one._lock)
        one._lock = None


@pytest.fixture
def counting(count):
    """Metrics that are served."""
    one = count.make()
    one.look()
    return SimpleNamespace(metrics=one, port=count.port, folder=count.folder)


def row(encoded):
    return {"image": base64.b64encode(encoded).decode()}


def encoded(pixels, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


# ---- counting --------------------------------------------------------------------------------


def test_an_answer_counts_its_rows_decisions_and_seconds(counting):
    before = scrape(counting.port)
    counting.metrics.scored(["refer", "negative", "refer"], {"decode": 0.02, "forward": 0.2})
    counting.metrics.answered(0.3)
    after = scrape(counting.port)
    assert changed(before, after) == {
        'melanoma_rows_total{outcome="answered"}': 3,
        'melanoma_decisions_total{decision="refer"}': 2,
        'melanoma_decisions_total{decision="negative"}': 1,
        'melanoma_requests_total{status="200"}': 1,
        **{f'melanoma_request_seconds_count{{part="{part}"}}': 1 for part in ("decode", "forward", "whole")},
    }
    bucket = 'melanoma_request_seconds_bucket{{le="{}",part="decode"}}'
    assert [after[bucket.format(bound)] for bound in ("0.01", "0.025", "30.0", "+Inf")] == [0, 1, 1, 1]
    assert after['melanoma_request_seconds_sum{part="whole"}'] == pytest.approx(0.3)


def test_a_refusal_counts_its_status_its_reason_and_the_rows_at_fault(counting):
    before = scrape(counting.port)
    counting.metrics.refused(rows_refused({1: "the bytes are not a JPEG", 4: "the file is truncated"}, 9))
    counting.metrics.refused(RequestError("never seen", 418))
    counting.metrics.abandoned()
    assert changed(before, scrape(counting.port)) == {
        'melanoma_requests_total{status="400"}': 1,
        'melanoma_requests_total{status="other"}': 1,
        'melanoma_requests_total{status="abandoned"}': 1,
        'melanoma_refusals_total{reason="not_an_image"}': 1,
        'melanoma_refusals_total{reason="other"}': 1,
        'melanoma_rows_total{outcome="refused"}': 2,
    }


def test_no_text_of_a_client_makes_a_new_series(counting):
    before = set(scrape(counting.port))
    counting.metrics.watch({"quick": (), "slow": ()}, (), num_threads=4)
    counting.metrics.look()
    generator = random.Random(1)
    for number in range(200):
        word = f"{generator.getrandbits(64):x}"
        counting.metrics.refused(RequestError(word, generator.randrange(400, 600)))
        counting.metrics.refused(rows_refused({number: word}, number + 1))
    counting.metrics.scored(["negative", "positive", "refer"], {"decode": 1, "forward": 100})
    assert set(scrape(counting.port)) == before


def test_the_load_is_sampled_with_the_requests_that_wait_for_a_thread(counting):
    counting.metrics.watch({"quick": range(7), "slow": range(2)}, range(11), num_threads=4)
    counting.metrics.look()
    found = scrape(counting.port)
    assert [found[f'melanoma_requests_in_progress{{lane="{lane}"}}'] for lane in ("quick", "slow")] == [7, 2]
    assert [found[f'melanoma_requests_waiting{{lane="{lane}"}}'] for lane in ("quick", "slow")] == [3, 0]
    assert found["melanoma_connections"] == 11


def test_the_model_is_named(counting):
    name = f'melanoma_model_info{{name="melanoma-sample",network_sha256="{"ab" * 32}",version="3"}}'
    assert scrape(counting.port)[name] == 1


def test_records_are_counted_with_their_lag_and_only_where_answers_are_recorded(count):
    count.make().look()
    assert not [name for name in scrape(count.port) if "records" in name]
    recorder = SimpleNamespace(num_written=5, num_lost=0, unsynced_seconds=0.75)
    one = count.make(recorder)
    for lost in (2, 3):
        recorder.num_lost = lost
        one.look()
    found = {name: value for name, value in scrape(count.port).items() if "records" in name}
    assert found == {
        "melanoma_records_written_total": 5,
        "melanoma_records_lost_total": 3,
        "melanoma_records_unsynced_seconds": 0.75,
    }


# ---- reasons ---------------------------------------------------------------------------------

PICTURE = np.random.default_rng(1).integers([150, 90, 60], [220, 150, 120], size=(64, 64, 3))
JPEG, SQUARE = encoded(PICTURE, "JPEG"), encoded(PICTURE)
FRAMES = [Image.fromarray(np.roll(PICTURE, step, 0).astype(np.uint8)) for step in (1, 2)]
IMAGES = {
    "not_an_image": b"no image",
    "damaged_image": JPEG[: len(JPEG) // 2],
    "image_size": encoded(PICTURE[:8]),
    "not_dermoscopy": encoded(np.full((64, 64, 3), 128)),
    "unusable_image": encoded(PICTURE, "PNG", save_all=True, append_images=FRAMES),
}


def refuse_image(image):
    """As the server does: by its header, then decoded, then looked at."""
    require_affordable([image], LIMITS)
    pixels = decode_or_refuse(Job(image, 32, 64_000_000))
    try:
        if isinstance(pixels, ImageError):
            raise pixels
        require_plausible(pixels)
    except ImageError as error:
        raise rows_refused({0: str(error)}, 1) from error


@pytest.mark.parametrize("reason", IMAGES)
def test_each_kind_of_bad_image_has_its_word(reason):
    with pytest.raises(RequestError) as refusal:
        refuse_image(IMAGES[reason])
    assert reason_of(refusal.value) == reason


def test_a_flipped_bit_is_damage():
    flipped = bytearray(SQUARE)
    flipped[len(flipped) // 2] ^= 1
    with pytest.raises(RequestError) as refusal:
        refuse_image(bytes(flipped))
    assert reason_of(refusal.value) == "damaged_image"


def test_a_good_image_is_not_refused():
    refuse_image(JPEG)


BODIES = {
    b"{": "invalid_json",
    b'{"params": NaN}': "invalid_json",
    b'{"params": 1, "params": 2}': "invalid_json",
    b"[1]": "invalid_request",
    b'{"dataframe_records": []}': "invalid_request",
    b'{"dataframe_records": [{"image": 1}]}': "invalid_request",
    b'{"dataframe_records": [{"image": "!"}]}': "invalid_request",
    b'{"dataframe_records": [{"image": "", "image_id": "%s"}]}' % (b"x" * 300): "invalid_request",
}


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_each_kind_of_bad_body_has_its_word(body):
    with pytest.raises(RequestError) as refusal:
        parse(body, LIMITS)
    assert reason_of(refusal.value) == BODIES[body]


def test_other_refusals_have_their_words():
    assert reason_of(bodies.full()) == "overloaded"
    assert reason_of(bodies.stopping()) == "stopping"
    assert reason_of(bodies.too_large(2, 1)) == "too_large"
    assert [reason_of(RequestError("", status)) for status in (408, 504)] == ["timeout", "timeout"]
    for refuse in (lambda: require_json("text/csv"), lambda: require_affordable([b"x" * 3_000_000], LIMITS)):
        with pytest.raises(RequestError) as refusal:
            refuse()
        assert reason_of(refusal.value) in {"wrong_content_type", "too_large"}


def test_every_word_is_among_the_reasons():
    words = {*IMAGES, *BODIES.values(), "overloaded", "stopping", "too_large", "timeout", "internal_error"}
    assert words | {"wrong_content_type", "other"} == set(REASONS)


# ---- in the server ---------------------------------------------------------------------------


def test_a_server_counts_each_request_to_invocations_once(counting):
    def answer(images, *rest, **options):
        if images[0] == b"broken":
            raise ZeroDivisionError
        if images[0] == b"bad":
            error = MlflowException("row 0: the file is truncated", error_code=1000)  # BAD_REQUEST
            error.reasons = {0: "the file is truncated"}
            raise error
        return {"image_id": [None]}

    posts = ([row(b"good")], [row(b"good")], [row(b"broken")], [row(b"bad")], [{"image": "!"}])
    with front(LIMITS, answer, metrics=counting.metrics) as application:
        before = scrape(counting.port)
        for rows in posts:
            ask(application, "POST", "/invocations", posted({"dataframe_records": rows}))
        ask(application, "POST", "/invocations", {"type": "http.disconnect"})
        ask(application, "GET", "/ping")
        ask(application, "GET", "/model")
        after = scrape(counting.port)
    assert changed(before, after) == {
        'melanoma_requests_total{status="200"}': 2,
        'melanoma_requests_total{status="400"}': 2,
        'melanoma_requests_total{status="500"}': 1,
        'melanoma_requests_total{status="abandoned"}': 1,
        'melanoma_refusals_total{reason="internal_error"}': 1,
        'melanoma_refusals_total{reason="damaged_image"}': 1,
        'melanoma_refusals_total{reason="invalid_request"}': 1,
        'melanoma_rows_total{outcome="refused"}': 2,
        'melanoma_request_seconds_count{part="whole"}': 2,
    }


# ---- several processes -----------------------------------------------------------------------

COUNTER = """
import os, sys
from pathlib import Path
from melanoma.serving.metrics_prometheus import PrometheusMetrics
from melanoma.serving.records import Recorded
one = PrometheusMetrics("127.0.0.1", 1, Path(sys.argv[1]), model=Recorded("old", "2", "", 1), recorder=None)
one.scored(["refer"], {})
one.watch({"quick": [1]}, [1], num_threads=4)
one._sample()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_a_dead_process_stays_in_the_sums_but_not_in_the_present(counting):
    command = [sys.executable, "-c", textwrap.dedent(COUNTER), str(counting.folder)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"ready\n"
    counting.metrics.scored(["refer"], {})
    counting.metrics.watch({"quick": [1]}, [1, 2], num_threads=4)
    counting.metrics.look()
    found = scrape(counting.port)
    refer, quick = 'melanoma_decisions_total{decision="refer"}', 'melanoma_requests_in_progress{lane="quick"}'
    assert (found[refer], found[quick], found["melanoma_connections"]) == (2, 2, 3)
    assert len([name for name in found if "model_info" in name]) == 2
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, but still in the table of processes
    counting.metrics.look()
    found = scrape(counting.port)
    other.communicate()
    assert (found[refer], found[quick], found["melanoma_connections"]) == (2, 1, 2)
    assert len([name for name in found if "model_info" in name]) == 1


def test_one_process_serves_and_another_one_takes_over(count):
    first, second = count.make(), count.make()
    first.look()
    second.look()
    first.scored(["refer"], {})
    assert scrape(count.port)['melanoma_decisions_total{decision="refer"}'] == 1
    assert (first._server is None, second._server is None) == (False, True)
    end(first)
    second.look()
    assert scrape(count.port)['melanoma_decisions_total{decision="refer"}'] == 1


def test_a_port_of_another_program_is_an_error_in_the_log_and_is_tried_again(count, caplog, monkeypatch):
    one = count.make()
    with socket.create_server(("127.0.0.1", count.port)):
        for _ in range(2):
            with pytest.raises(OSError, match="in use"):
                one.look()
        rounds = iter([None, None])

        def sleep(seconds):
            if next(rounds, "end") == "end":
                raise StopIteration

        monkeypatch.setattr(time, "sleep", sleep)
        with pytest.raises(StopIteration):
            one.run()
        one.scored(["refer"], {})  # answers go on
    assert caplog.text.count(f"metrics cannot be served on port {count.port}") == 1
    one.look()
    assert scrape(count.port)['melanoma_decisions_total{decision="refer"}'] == 1


def test_metrics_are_for_this_machine_unless_an_address_is_named(count):
    count.make(host="::1").look() if socket.has_ipv6 else pytest.skip("no IPv6")
    assert requests.get(f"http://[::1]:{count.port}/metrics", timeout=10).ok


# ---- the folder ------------------------------------------------------------------------------


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_processes_with_one_parent_and_port_share_a_folder_that_nobody_else_reads(environment):
    folder = metrics_folder.open_folder(9000)
    assert folder == metrics_folder.open_folder(9000)
    assert folder != metrics_folder.open_folder(9001)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_folders_of_servers_that_ended_are_removed_and_others_stay(environment, tmp_path):
    dead, name = ended_process(), f"{metrics_folder.PREFIX}-{os.getuid()}-9000-1"
    gone, running, orphans = (
        tmp_path / f"{name}-{parent}" for parent in (dead, os.getppid(), ended_process())
    )
    for folder, process in ((gone, dead), (running, dead), (orphans, os.getpid())):
        folder.mkdir()
        (folder / f"counter_{process}.db").touch()
    mine = metrics_folder.open_folder(9000)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in (mine, running, orphans)
    )


def test_a_folder_of_somebody_else_is_refused(environment, tmp_path):
    mine = metrics_folder.open_folder(9000)
    mine.rmdir()
    (tmp_path / "elsewhere").mkdir()
    mine.symlink_to(tmp_path / "elsewhere")
    environment.setenv(METRICS_PORT, "9000")
    with pytest.raises(TrackingError, match="belongs to somebody else"):
        metrics.open_metrics(MODEL, None)


def test_a_full_disk_is_an_error_at_the_start_and_no_crash(environment, tmp_path):
    def full(file, start, length):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    environment.setenv(METRICS_PORT, "9000")
    environment.setattr(os, "posix_fallocate", full)
    with pytest.raises(TrackingError, match=r"No space left on device.*free some space"):
        metrics.open_metrics(MODEL, None)


def test_a_named_folder_is_used(environment, tmp_path):
    environment.setenv(FOLDER, str(tmp_path / "deep" / "folder"))
    assert metrics_folder.open_folder(9000) == tmp_path / "deep" / "folder"
    assert (tmp_path / "deep" / "folder").is_dir()


# ---- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["0", "65536", "-1", "+1", "1e3", "9090.0", "port", "９０９０", " 9090"])
def test_a_value_that_is_no_port_is_refused_by_name(environment, port):
    environment.setenv(METRICS_PORT, port)
    with pytest.raises(TrackingError, match=r"MELANOMA_METRICS_PORT must be a port, 1 to 65535, got"):
        metrics.open_metrics(MODEL, None)


@pytest.mark.parametrize("port", ["1", "9090", "65535"])
def test_the_first_and_the_last_port_are_taken(environment, port):
    assert metrics.address_of_metrics(port) == ("127.0.0.1", int(port))


@pytest.mark.parametrize("host", ["256.1.1.1", "no such host", "a" * 300])
def test_an_address_that_does_not_exist_is_refused_by_name(environment, host):
    environment.setenv(METRICS_HOST, host)
    with pytest.raises(TrackingError, match="MELANOMA_METRICS_HOST must be an address"):
        metrics.address_of_metrics("9090")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost"])
def test_other_addresses_can_be_named(environment, host):
    environment.setenv(METRICS_HOST, host)
    assert metrics.address_of_metrics("9090") == (host, 9090)


def test_the_environment_turns_metrics_on(environment):
    port = free_port()
    environment.setenv(METRICS_PORT, str(port))
    environment.setattr(metrics_prometheus, "LOOK_SECONDS", 0.01)
    one = metrics.open_metrics(MODEL, None)
    one.scored(["refer"], {})
    scrape_until(port, lambda found: found['melanoma_decisions_total{decision="refer"}'] == 1)


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_port_nothing_is_counted(environment, value):
    if value is not None:
        environment.setenv(METRICS_PORT, value)
    assert metrics.open_metrics(MODEL, None) is OFF


def test_without_a_port_the_library_is_not_imported():
    code = "import sys, melanoma.serving.scorer; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_outside_a_server_a_loaded_model_counts_nothing(logged, environment):
    import mlflow

    environment.setenv(METRICS_PORT, "no port")
    assert mlflow.pyfunc.load_model(logged.uri).unwrap_python_model()._metrics is OFF
