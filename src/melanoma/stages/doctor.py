"""Command `doctor`: what of this machine and project would stop `make demo` or other commands.

Run by `make doctor`, also before `make install` and with an old Python: until the packages are known to be
installed, only the standard library is imported. A `fail` stops `make demo`; a `warn` stops other commands.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Iterator, NamedTuple  # noqa: UP035  this runs with Python 3.8 too

from melanoma.stages import ports

OK, WARN, FAIL = "ok", "warn", "fail"
GB = 1e9
PACKAGES_GB, RUNS_GB = 5, 1  # on disk: of .venv, and of the outputs of `make demo`
MIN_MEMORY_GB, GOOD_MEMORY_GB = 2.5, 4  # a training of `make demo` takes 2
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
PORTS = {5000: "make ui UI_PORT=", 5001: "make serve PORT=", 8080: "make dashboard DASHBOARD_PORT="}


class Finding(NamedTuple):
    """Outcome of one check.

    Attributes:
        level: `ok`, `warn` or `fail`.
        what: What was checked.
        found: What was found.
        cure: What to do; empty if nothing is wrong.
    """

    level: str
    what: str
    found: str
    cure: str = ""

    def line(self) -> str:
        """The outcome in one line."""
        return f"{self.level:<5} {self.what:<10} {self.found}" + (f". {self.cure}" if self.cure else "")


def main() -> int:
    """Print one line for each check.

    Returns:
        1 if something prevents `make demo`, else 0.
    """
    levels = []
    for finding in findings(Path.cwd()):
        print(finding.line(), flush=True)
        levels.append(finding.level)
    return int(FAIL in levels)


def findings(top: Path) -> Iterator[Finding]:
    """All checks of the project in the folder `top`."""
    is_installed = find_spec("mlflow") is not None and find_spec("dvc") is not None
    yield check_python(sys.version_info[:2])
    yield check_packages(is_installed=is_installed, has_venv=find_spec("ensurepip") is not None)
    needed = RUNS_GB if is_installed else PACKAGES_GB + RUNS_GB
    yield check_disk(shutil.disk_usage(top).free / GB, needed)
    yield check_memory(memory_gb())
    yield check_cores(os.cpu_count() or 1)
    yield check_git(top)
    yield check_chromium()
    for port, example in PORTS.items():
        yield check_port(port, example)
    if is_installed:
        yield check_store()
        yield check_params(top)
        yield check_remote(top)
        yield check_cache(top)


def check_python(version: tuple[int, ...]) -> Finding:
    """TensorFlow has packages for some versions only."""
    found = ".".join(map(str, version))
    if (3, 11) <= version < (3, 14):
        return Finding(OK, "Python", found)
    cure = "Name another: make PYTHON=python3.12 ..."
    return Finding(FAIL, "Python", f"{found}; 3.11, 3.12 or 3.13 is needed", cure)


def check_packages(*, is_installed: bool, has_venv: bool) -> Finding:
    """Whether the packages are installed, or can be."""
    if is_installed:
        return Finding(OK, "packages", "installed")
    if not has_venv:
        cure = "On Debian: apt-get install python3-venv"
        return Finding(FAIL, "packages", "not installed, and Python has no venv", cure)
    return Finding(WARN, "packages", "not installed", "Run `make install`; `make demo` does so too")


def check_disk(free_gb: float, needed_gb: float) -> Finding:
    """Free space on the disk of the project."""
    found = f"{free_gb:.1f} GB free"
    if free_gb >= needed_gb:
        return Finding(OK, "disk", found)
    return Finding(FAIL, "disk", f"{found}, {needed_gb:g} GB needed", "Make room, or clone to another disk")


def check_memory(total_gb: float) -> Finding:
    """Memory of the machine or of the container."""
    found = f"{total_gb:.1f} GB"
    if total_gb >= GOOD_MEMORY_GB:
        return Finding(OK, "memory", found)
    level = WARN if total_gb >= MIN_MEMORY_GB else FAIL
    cure = "Use a larger machine, or smaller images: `dvc exp run -S baseline.image_size=96`"
    return Finding(level, "memory", f"{found}; a training of the demo takes 2 GB", cure)


def memory_gb() -> float:
    """Memory of the machine, or the limit of the container if that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(CGROUP_LIMIT.read_text())) / GB
    except (OSError, ValueError):  # no container, or `max`
        return total / GB


def check_cores(num: int) -> Finding:
    """Processor cores."""
    if num > 1:
        return Finding(OK, "cores", str(num))
    return Finding(WARN, "cores", "1", "`make demo` takes about twice as long as on 2")


def check_git(top: Path) -> Finding:
    """DVC wants a git repository."""
    if shutil.which("git") is None:
        return Finding(FAIL, "git", "not installed", "On Debian: apt-get install git")
    done = _run_git(top, "rev-parse", "--short", "HEAD")
    if done.returncode == 0:
        return Finding(OK, "git", f"commit {done.stdout.strip()}")
    local = top / ".dvc" / "config.local"
    if local.is_file() and "no_scm = true" in local.read_text(encoding="utf-8").lower():
        return Finding(WARN, "git", "not used", "Runs will not name their commit")
    reason = done.stderr.strip().partition("\n")[0]
    cure = "Clone the project with git, or do without: `dvc config --local core.no_scm true`"
    return Finding(FAIL, "git", reason, cure)


def _run_git(top: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=top, capture_output=True, text=True, check=False)


def check_chromium() -> Finding:
    """The browser of the tests."""
    path = shutil.which("chromium")
    if path:
        return Finding(OK, "chromium", path)
    return Finding(WARN, "chromium", "not installed", "Only tests of pages need it: apt-get install chromium")


def check_port(port: int, example: str) -> Finding:
    """Whether the default port of a command is free."""
    if ports.is_free(port):
        return Finding(OK, f"port {port}", "free")
    return Finding(WARN, f"port {port}", "in use", f"Choose another: `{example}{ports.next_free(port)}`")


def check_store() -> Finding:
    """Whether the tracking store answers and was not moved."""
    from melanoma import project, store_home, store_server
    from melanoma.errors import TrackingError

    uri = project.tracking_uri()
    file = project.file_of(uri)
    if file is not None and not file.is_file():
        return Finding(OK, "store", "none yet; the first run makes it")
    try:
        if file is not None:
            store_home.require_at_home(file)
        store_server.require_answer(uri)
    except TrackingError as error:
        return Finding(FAIL, "store", " ".join(str(error).split()).rstrip("."))
    except Exception as error:  # noqa: BLE001  servers and databases raise errors of many libraries
        cure = "Start it, or unset MLFLOW_TRACKING_URI"
        return Finding(FAIL, "store", f"{uri} does not answer: {error}", cure)
    return Finding(OK, "store", uri)


def check_params(top: Path) -> Finding:
    """Whether params.yaml is valid and, in a git repository, unchanged."""
    from melanoma import config
    from melanoma.errors import ConfigError

    try:
        config.load(top / "params.yaml")
    except ConfigError as error:
        return Finding(FAIL, "parameters", " ".join(str(error).split()))
    done = None if shutil.which("git") is None else _run_git(top, "status", "--porcelain", "params.yaml")
    if done is None or done.returncode != 0:
        return Finding(OK, "parameters", "valid")
    if done.stdout.strip():
        cure = "`git diff params.yaml` shows how, `git checkout params.yaml` restores them"
        return Finding(WARN, "parameters", "differ from the last commit", cure)
    return Finding(OK, "parameters", "valid, as committed")


def check_remote(top: Path) -> Finding:
    """Whether the object store of the data answers."""
    from dvc.config import Config

    from melanoma import storage
    from melanoma.errors import StorageError

    settings = Config(str(top / ".dvc"))
    remote = settings["remote"].get(settings["core"].get("remote"), {})
    if not remote.get("url", "").startswith("s3://"):
        return Finding(OK, "remote", remote.get("url") or "none; only make data-push and data-pull need one")
    try:
        storage.require_bucket(storage.connect(remote["url"], endpoint_url=remote.get("endpointurl")))
    except StorageError as error:
        return Finding(WARN, "remote", str(error).rstrip("."), "Only make data-push and data-pull need it")
    return Finding(OK, "remote", remote["url"])


def check_cache(top: Path) -> Finding:
    """Whether DVC's cache can be written, and is that of the main checkout in a git worktree."""
    from melanoma import project

    cache = project.cache_of_main_worktree(top)
    if cache is not None:
        return Finding(WARN, "cache", "empty", project.how_to_share(cache))
    if not os.access(top / ".dvc", os.W_OK):
        return Finding(FAIL, "cache", f"{top / '.dvc'} cannot be written", "Ask for the permission")
    return Finding(OK, "cache", str(top / ".dvc" / "cache"))


if __name__ == "__main__":
    sys.exit(main())
