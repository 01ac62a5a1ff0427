"""Body of `make watch`: what happens after serving, from the first answer to the next model.

It runs the commands that people run, on synthetic lesions, in a copy of the project: its registry, records
and reports are those of the copy. Three months are three streams. The first is like the training images, the
second comes from a camera with a colour cast, and in the third melanomas look like nevi.
"""

import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from ruamel.yaml import YAML
from tqdm import tqdm

from melanoma import config, files, project
from melanoma.errors import DataError
from melanoma.monitoring.spool_lines import SHADOW_ID
from melanoma.registry.versions import CHALLENGER, STAGING, model_name
from melanoma.schema import NOT_A_DEVICE
from melanoma.serving.records import RECORDS, RECORDS_KEY, SPOOL
from melanoma.serving.shadow import SHADOW
from melanoma.serving.spool import SUFFIX
from melanoma.stages import needs, ports
from melanoma.stages.console import say

COHORT, CLINIC = "sample", "harbour"
DATA = "data"
NEEDED = (DATA, "infra", "mlruns", "models", "pipelines", "reports", "src")  # folders of the project
RECORDS_FOLDER, STREAMS, LOG = "records", "streams", "server.log"
START_SECONDS, STOP_SECONDS, FIRST_PORT = 120, 30, 5001
SHADOW_SECONDS = 300  # until the challenger has answered; longer on a busy machine
REFUSED, ALARM = 1, 2  # exit codes
CAST = ("1.1", "0.95", "0.75")  # yellow light: factors of red, green and blue
NUM_LESIONS = 200  # a month
# Changes to section `sample` in the copy: lesions that nobody has trained on.
MONTHS: Mapping[str, Mapping[str, Any]] = {
    "quiet": {"seed": 101},
    "camera": {"seed": 102},
    "subtle": {"seed": 103, "malignant_disorder": -0.8},
    "shadow": {"seed": 104, "malignant_disorder": 1.8},
}
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "sample": {"num_lesions": NUM_LESIONS, "num_second_views": 0},
    "queue": {"size": 0, "audit_fraction": 1.0, "audit_fraction_near": 1.0},  # all images are labelled
    "monitor": {"num_windows": 3},
    "train": {"seed": 11, "num_seeds": 1},  # the challenger
    "promote": {
        "min_shadow_rows": 150,
        "shadow_records": RECORDS_FOLDER,
        "shadow_labels": [f"{STREAMS}/shadow-labelled.csv"],
    },
}


@dataclass(frozen=True)
class Copy:
    """A copy of the project, in which the loop runs.

    Attributes:
        folder: Its top folder.
        settings: Environment of its commands, beside that of this process.
    """

    folder: Path
    settings: Mapping[str, str]

    def run(self, *words: str, ends: Sequence[int] = (0,)) -> None:
        """Print and run `python -m pipelines.<words>`; its output goes to the terminal.

        Raises:
            DataError: It ended with an exit code that is not among `ends`.
        """
        print(f"\n$ python -m pipelines.{shlex.join(words)}", flush=True)
        command = [sys.executable, "-m", f"pipelines.{words[0]}", *words[1:]]
        code = subprocess.run(command, cwd=self.folder, env=self.environment(), check=False).returncode
        if code not in ends:
            expected = " or ".join(map(str, ends))
            raise DataError(
                f"pipelines.{words[0]} ended with exit code {code}, expected {expected}. Its output is "
                f"above, and the copy of the project in {self.folder}."
            )

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a command in the copy: MLflow has set that of this process to the original."""
        kept = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
        path = os.pathsep.join([str(self.folder / "src"), str(self.folder)])
        store = f"sqlite:///{self.folder / project.STORE}"
        return kept | {"PYTHONPATH": path, "MLFLOW_TRACKING_URI": store} | dict(self.settings) | more


@dataclass(frozen=True)
class Month:
    """A month that was posted, and its window of time."""

    name: str
    since: str
    until: str

    @property
    def window(self) -> list[str]:
        """As options of a command."""
        return ["--since", self.since, "--until", self.until]


def run(out: Path) -> str:
    """Run the loop; returns where to look.

    Args:
        out: Folder of the copy; one that an earlier call wrote is replaced.

    Raises:
        DataError: The store is not that of the project, or a command fails.
        TrackingError: The cohort `sample` has no model at the alias `staging`.
    """
    name, started = model_name(COHORT), time.monotonic()
    copy = _copy_project(out)
    records = ["--records", RECORDS_FOLDER]
    labels: list[str] = []

    def live(month: str, *changes: str) -> Month:
        """Post the lesions of a month, let readers label all of them, and monitor."""
        posted = _post(copy, url, month, drawn[month].result(), *changes)
        labels.append(_label(copy, month, labels))
        out = f"reports/monitoring/{month}"
        copy.run(
            "monitor", name, *records, *posted.window, "--labels", *labels, "--out", out, ends=(0, ALARM)
        )
        return posted

    with _drawing(copy) as drawn, _served(copy) as url:
        say("watch", "1. A quiet month: lesions like those of the training images")
        live("quiet")
        say("watch", "2. A new camera with a colour cast: images and answers shift, and calibration breaks")
        camera = live("camera", "--cast", *CAST)
        say("watch", f"3. The clinic {CLINIC}, which has this camera, gets a calibration of its own")
        window = [*camera.window, "--labels", labels[-1]]
        copy.run("recalibrate", name, "--clinic", CLINIC, *records, *window, ends=(0, REFUSED))
        say("watch", "4. Melanomas that look like nevi: labels show that the sensitivity is lost")
        live("subtle")
        images = drawn["shadow"].result()
    say("watch", "5. Is it time to train again?")
    copy.run("propose", name, *records, "--labels", *labels)
    say("watch", "6. A challenger, trained here. The gates refuse it: it has not answered in shadow yet")
    for stage in ("train", "evaluate", "audit", "promote"):
        copy.run(stage, *_options_of(copy, stage))
    with _served(copy, **{SHADOW: f"models:/{name}@{CHALLENGER}"}) as url:
        _post(copy, url, "shadow", images)
        _wait_for_shadow(copy)
    _label(copy, "shadow", labels)
    say("watch", "7. The gates again, with its answers in shadow")
    copy.run("promote", *_options_of(copy, "promote"))
    copy.run("page", *_options_of(copy, "page"))
    return _where_to_look(copy, seconds=time.monotonic() - started)


def _copy_project(out: Path) -> Copy:
    top = project.working_tree()
    if os.environ.get("MLFLOW_TRACKING_URI"):
        raise DataError(
            "MLFLOW_TRACKING_URI is set, but `make watch` works on a copy of the project's own store. Run it "
            "without: `env -u MLFLOW_TRACKING_URI make watch`."
        )
    needs.require_store()
    params = config.load(top / "params.yaml")
    needs.require_staging(COHORT, params.cohorts)
    others = {*params.cohorts, *(one for members in params.cohorts.values() for one in members)} - {COHORT}
    say("watch", f"synthetic images, {NOT_A_DEVICE}; all in a copy of the project, {out}")
    with files.atomic_folder(out) as unfinished:
        for path in top.iterdir():
            if path.name in NEEDED:
                shutil.copytree(
                    path, unfinished / path.name, ignore=_not_needed(others if path.name == DATA else set())
                )
            elif path.is_file():
                shutil.copy2(path, unfinished / path.name)
    copy = Copy(out.resolve(), {RECORDS: RECORDS_FOLDER, RECORDS_KEY: secrets.token_hex(32)})
    _write_params(copy, CHANGES, "params.yaml")
    for labels in CHANGES["promote"]["shadow_labels"]:  # none yet
        files.write_text("prediction_id,image_sha256,label\n", copy.folder / labels)
    copy.run("relocate")
    return copy


def _not_needed(others: set[str]) -> Callable[[str, list[str]], set[str]]:
    """What is not copied: bytecode, and in the folder of data what is named like other datasets."""
    return lambda _, names: {name for name in names if name == "__pycache__" or Path(name).stem in others}


def _write_params(copy: Copy, changes: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Write the parameters of the copy with changes to a file in it."""
    yaml = YAML()
    params = yaml.load(copy.folder / "params.yaml")
    for section, values in changes.items():
        params[section].update(values)
    with files.atomic_file(copy.folder / name) as unfinished:
        yaml.dump(params, unfinished)


@contextmanager
def _drawing(copy: Copy) -> Iterator[dict[str, Future[str]]]:
    """Draw the lesions of each month, one after the other, while the block runs; their folders."""
    pool = ThreadPoolExecutor(1)
    try:
        yield {month: pool.submit(_draw, copy, month) for month in MONTHS}
    finally:
        pool.shutdown(cancel_futures=True)


def _draw(copy: Copy, month: str) -> str:
    params, images = f"{STREAMS}/{month}.yaml", f"{STREAMS}/{month}-images"
    _write_params(copy, {"sample": MONTHS[month]}, params)
    copy.run("sample", "--params", params, "--out", images)
    return images


@contextmanager
def _served(copy: Copy, **settings: str) -> Iterator[str]:
    """Serve the version with the alias `staging` while the block runs; yields the address."""
    port = FIRST_PORT if ports.is_free(FIRST_PORT) else ports.next_free(FIRST_PORT)
    uri, url = f"models:/{model_name(COHORT)}@{STAGING}", f"http://127.0.0.1:{port}"
    words = ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "--port", str(port)]
    shown = "".join(f"{name}={value} " for name, value in settings.items())
    print(f"\n$ {shown}{shlex.join(words)} &", flush=True)
    with (copy.folder / LOG).open("ab") as log:
        server = subprocess.Popen(
            words,
            cwd=copy.folder,
            env=copy.environment(**settings),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_for_answer(server, url, copy.folder)
        yield url
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait_for_answer(server: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < until:
        with suppress(requests.RequestException):
            if requests.get(f"{url}/ping", timeout=5).ok:
                return
        time.sleep(0.5)
    raise DataError(f"The server did not start within {START_SECONDS} s; {folder / LOG} says why.")


def _post(copy: Copy, url: str, month: str, images: str, *more: str) -> Month:
    """Post the lesions of a month."""
    since, out = datetime.now(UTC), f"{STREAMS}/{month}"
    more = ("--patients", f"{month} ", *more)
    copy.run("replay", "--dataset", "sample", "--raw", images, "--url", url, "--out", out, *more)
    return Month(month, since.isoformat(), datetime.now(UTC).isoformat())


def _wait_for_shadow(copy: Copy) -> None:
    """Wait until the challenger, which only gets idle processor time, has answered enough rows."""
    least, until, num = CHANGES["promote"]["min_shadow_rows"], time.monotonic() + SHADOW_SECONDS, 0
    with tqdm(total=least, desc="in shadow", unit="image", disable=None) as bar:
        while num < least and time.monotonic() < until:
            time.sleep(1)
            before, spool = num, copy.folder / RECORDS_FOLDER / SPOOL
            lines = [path.read_bytes() for path in spool.glob(f"*{SUFFIX}")]
            num = sum(line.count(f'"{SHADOW_ID}"'.encode()) for line in lines)
            bar.update(num - before)


def _label(copy: Copy, month: str, earlier: Sequence[str]) -> str:
    """Draw the audit as on the day after a month, and let a reader label all of it; the label file."""
    queue, labels = f"{STREAMS}/{month}-queue.csv", f"{STREAMS}/{month}-labelled.csv"
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    known = ["--labels", *earlier] if earlier else []
    copy.run("queue", "--records", RECORDS_FOLDER, "--out", queue, "--as-of", later, *known)
    copy.run("replay", "--out", f"{STREAMS}/{month}", "--read-queue", queue, "--labelled", labels)
    return labels


def _options_of(copy: Copy, stage: str) -> list[str]:
    """The options that dvc.yaml gives a stage."""
    found = config.read_yaml(copy.folder / "dvc.yaml")["stages"][stage]
    words = shlex.split(found.get("do", found)["cmd"].replace("${item}", COHORT))
    return words[words.index(f"pipelines.{stage}") + 1 :]


def _where_to_look(copy: Copy, seconds: float) -> str:
    verdict = files.read_json(copy.folder / "reports" / COHORT / "promotion.json")
    word = "was promoted" if verdict["is_promoted"] else f"was refused: {'; '.join(verdict['reasons'])}"
    out, name = copy.folder, model_name(COHORT)
    return (
        f"done in {seconds:.0f} s: the challenger {word}\n"
        f"  {out}/reports/index.html           the report, with what is served now\n"
        f"  {out}/reports/monitoring/          a page for each month\n"
        f"  {out}/reports/recalibration/       what the clinic's labels changed\n"
        f"  cd {out} && python -m pipelines.ui   runs, versions, proposal, ledger\n"
        f"  cd {out} && python -m pipelines.history {name}   who moved which alias, and why"
    )
