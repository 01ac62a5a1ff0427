"""Real servers whose challenger works, sleeps, fails, is killed or cannot be loaded: no answer changes."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import mlflow
import psutil
import pytest

from melanoma.fingerprint import travelling_code
from melanoma.monitoring import records
from melanoma.serving import client
from melanoma.serving.metrics import METRICS_PORT
from melanoma.serving.records import RECORDS, RECORDS_KEY
from melanoma.serving.shadow import SHADOW
from tests.end_to_end.clone import free_port
from tests.serving.conftest import serving
from tests.serving.scrapes import scrape, scrape_until
from tests.serving.test_server import starting

pytestmark = pytest.mark.slow

KEY = "0123456789abcdef" * 2
DEADLINE = 120
SCORED, DROPPED, FAILED = (
    f'melanoma_shadow_rows_total{{outcome="{outcome}"}}' for outcome in ("scored", "dropped", "failed")
)
RESTARTS = "melanoma_shadow_restarts_total"


def ask(url, pictures):
    """The answers but for the names of their records, which are new each time."""
    return [{**row, "prediction_id": None} for row in client.score_images(url, pictures)]


@pytest.fixture
def site(logged, pictures, tmp_path):
    """A model, where its records go, and a port for metrics; `ask` posts the pictures."""
    port = free_port()
    return SimpleNamespace(
        uri=logged.uri,
        version=logged.run_id,
        folder=tmp_path,
        ask=lambda url: ask(url, pictures),
        num_rows=len(pictures),
        port=port,
        settings={
            RECORDS: str(tmp_path / "records"),
            RECORDS_KEY: KEY,
            METRICS_PORT: str(port),
            "TMPDIR": str(tmp_path),
        },
    )


def serve(site, challenger, *options):
    """A server with a challenger."""
    return serving(site.uri, site.folder, *options, settings=site.settings | {SHADOW: challenger})


@pytest.fixture(scope="module")
def expected(logged, pictures, tmp_path_factory):
    """The answers of a server without records and without a challenger."""
    with serving(logged.uri, tmp_path_factory.mktemp("plain")) as url:
        return ask(url, pictures)


@pytest.fixture
def challenger(site):
    """Makes a challenger: the model with another line at the start of its answers; its path."""

    def make(line):
        folder = site.folder / "challenger"
        model = Path(mlflow.artifacts.download_artifacts(site.uri, dst_path=str(folder)))
        module = travelling_code(model) / "serving" / "scorer.py"
        head = "        asked = Asked([image], [None], [None], time.monotonic())\n"
        assert module.read_text().count(head) == 1
        module.write_text(module.read_text().replace(head, f"        {line}\n{head}"))
        return str(model)

    return make


def read(site):
    folder = site.folder / "records"
    return records.read(folder, spool=folder / "spool")


def read_until(site, num_shadowed):
    deadline = time.monotonic() + DEADLINE
    while (found := read(site)).rows["shadow_probability"].notna().sum() < num_shadowed:
        assert time.monotonic() < deadline, log(site)
        time.sleep(0.3)
    return found


def log(site):
    return (site.folder / "mlflow-models.log").read_text()


def children():
    """The processes of challengers that this test has started."""
    family = psutil.Process().children(recursive=True)
    return [one for one in family if any(part.endswith("shadow_main.py") for part in one.cmdline())]


def wait_for_challenger():
    deadline = time.monotonic() + DEADLINE
    while not (found := children()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_a_challenger_leaves_an_answer_beside_each_answer_and_changes_none(site, expected, challenger):
    uri = challenger("image = image[:-1] + image[-1:]  # the same, by other code")
    with serve(site, uri) as url:
        assert site.ask(url) == expected
        found = read_until(site, site.num_rows)
        (process,) = children()
        assert process.nice() == 19
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        # Linux shares processor time between sessions first: within another one its priority has no effect.
        assert os.getsid(process.pid) == os.getsid(process.ppid())
        assert os.getpgid(process.pid) == process.pid  # Ctrl-C does not reach it
    assert not found.problems
    assert set(found.rows["shadow_model_version"]) == {site.version}
    for name in ("score", "probability", "decision"):
        assert found.rows[f"shadow_{name}"].tolist() == found.rows[name].tolist()  # the same network
    gone, _ = psutil.wait_procs([process], timeout=10)
    assert gone  # the server was killed, and its challenger ended with it


def test_several_processes_have_a_challenger_each_and_one_scrape_counts_them_all(site):
    with serve(site, site.uri, "--workers", "2") as url, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: site.ask(url), range(20)))
        num_rows = 20 * site.num_rows
        found = scrape_until(site.port, lambda found: found.get(SCORED) == num_rows)
        assert (found[DROPPED], found[FAILED], found[RESTARTS]) == (0, 0, 0)
        assert scrape_until(site.port, lambda found: found["melanoma_shadow_waiting"] == 0)
        assert len(children()) == 2
    assert read(site).rows["shadow_probability"].notna().sum() == num_rows


def test_nobody_waits_for_a_challenger_that_sleeps(site, expected, challenger):
    with serve(site, challenger("time.sleep(1000)")) as url:
        began = time.monotonic()
        for _ in range(80):
            assert site.ask(url) == expected
        assert time.monotonic() - began < 60
        found = scrape_until(site.port, lambda found: found[DROPPED] > 0)
        assert found[SCORED] == 0
        assert found["melanoma_shadow_waiting"] <= 256
    rows = read(site).rows
    assert len(rows) == 80 * site.num_rows
    assert rows["shadow_probability"].isna().all()


def test_a_challenger_that_fails_at_each_row_changes_no_answer(site, expected, challenger):
    with serve(site, challenger("raise ZeroDivisionError('a bug')")) as url:
        assert site.ask(url) == expected
        found = scrape_until(site.port, lambda found: found[FAILED] == site.num_rows)
        assert (found[SCORED], found[RESTARTS]) == (0, 0)
        assert site.ask(url) == expected
    assert "could not answer 1 rows so far (ZeroDivisionError: a bug)" in log(site)


def test_a_challenger_that_is_killed_comes_back_and_no_answer_is_lost(site, expected):
    with serve(site, site.uri) as url:
        assert site.ask(url) == expected
        read_until(site, site.num_rows)
        (process,) = children()
        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(site.ask, url) for _ in range(30)]
            os.kill(process.pid, signal.SIGKILL)
            assert all(one.result() == expected for one in asking)
        rows = read_until(site, 31 * site.num_rows - 1).rows  # the one that it worked on may be lost
        (successor,) = wait_for_challenger()
        found = scrape_until(site.port, lambda found: found[SCORED] + found[FAILED] == 31 * site.num_rows)
        assert found[RESTARTS] == 1
    assert len(rows) == 31 * site.num_rows
    assert successor.pid != process.pid
    assert "its process ended with exit code -9" in log(site)


def test_a_challenger_that_cannot_be_loaded_is_named_and_changes_no_answer(site, expected):
    with serve(site, "models:/melanoma-none@challenger") as url:
        scrape_until(site.port, lambda found: found[RESTARTS] > 0)
        assert site.ask(url) == expected
    said = log(site)
    assert "models:/melanoma-none@challenger gives no answers: it cannot be loaded: MlflowException" in said
    assert len(read(site).rows) == site.num_rows


def test_a_challenger_ends_with_its_server_in_the_middle_of_an_answer(site, challenger):
    with serve(site, challenger("time.sleep(1000)")) as url:
        site.ask(url)
        scrape_until(site.port, lambda found: found["melanoma_shadow_waiting"] == site.num_rows - 1)
        (process,) = children()
        port = int(url.rpartition(":")[2])
        (server,) = {
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port
        }
        os.kill(server, signal.SIGTERM)
        gone, _ = psutil.wait_procs([process], timeout=20)
        assert gone


def test_a_challenger_needs_records(site):
    assert f"{SHADOW} is {site.uri}, but {RECORDS} is not set" in starting(
        site.folder, site.uri, **{SHADOW: site.uri}
    )


def test_a_server_without_a_challenger_starts_none_and_counts_none(site):
    with serving(site.uri, site.folder, settings=site.settings) as url:
        site.ask(url)
        assert not children()
        assert not [name for name in scrape(site.port) if name.startswith("melanoma_shadow")]
