"""Command `trace`: print the origin of a registered version and check its code, files and data.

A check has three outcomes: ok, NOT OK, and NOT KNOWN where git or a remote could not be asked. Data that lie
whole in DVC's cache need no remote.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from melanoma.errors import MelanomaError, TrackingError
from melanoma.fingerprint import CODE_TAG, FILES_TAG, digest_of_code
from melanoma.lineage import COMMIT_TAG, DIRTY_TAG, PROBLEM_TAG, UNKNOWN, data_hashes, find_commit
from melanoma.registry import origin, versions
from melanoma.registry.origin import Origin
from melanoma.registry.versions import Version
from melanoma.schema import EARLIER_POSITIVE
from melanoma.stages import data_versions
from melanoma.stages.data_versions import Remote

SHOWN_PACKAGES = (
    "python",
    "tensorflow",
    "keras",
    "onnxruntime",
    "numpy",
    "pandas",
    "mlflow",
    "dvc",
    "pillow",
)


@dataclass(frozen=True)
class Trace:
    """Outcome of `run`.

    Attributes:
        images: Images of the cohort with their licences.
        is_ok: Whether every check is ok.
        report: The outcome in one line.
    """

    images: pd.DataFrame
    is_ok: bool
    report: str


def run(uri: str, *, with_ids: bool) -> Trace:
    """Print the origin of a version and what its checks found.

    Args:
        uri: `models:/<name>@<alias>` or `models:/<name>/<number>`.
        with_ids: Print the id of every image.

    Raises:
        TrackingError: There is no such version, or its run is gone.
    """
    with tempfile.TemporaryDirectory(prefix="trace-") as folder:
        found = origin.trace(origin.find(uri), Path(folder))
    console = Console(highlight=False, markup=False)
    for line in _describe(found, with_ids=with_ids):
        console.print(line, soft_wrap=True)
    console.print(_parameters(found))
    model, data = (_check_code(found), _check_model(found.version)), _check_data(found)
    doubts = [check for check in model if not check.is_ok]
    for check in (*doubts, *data):
        console.print(check.line(), soft_wrap=True)
    num_ok = sum(check.is_ok for check in data)
    checks = "checks of data" if doubts else "checks"
    report = f"{num_ok} of {len(data)} {checks} ok"
    report += "".join(f"; {check.what}: {check.problem}" for check in doubts)
    return Trace(found.images, not doubts and bool(data) and num_ok == len(data), report)


def _describe(found: Origin, *, with_ids: bool) -> list[str]:
    version, images, tags = found.version, found.images, found.tags
    kind = "SYNTHETIC images" if tags.get("is_synthetic") == "true" else "real images"
    packages = [line for line in found.environment if line.split("==")[0].lower() in SHOWN_PACKAGES]
    code = version.tags.get(CODE_TAG, "not recorded")
    same = "identical to" if code == digest_of_code() else "different from"
    best_trial = found.best_trial or "not recorded"
    lines = [
        f"{version.name} version {version.version}, aliases {', '.join(version.aliases) or 'none'}; {kind}",
        f"model {tags.get('model')}, gate {version.tags.get('gate')}, run {version.tags['run_id']}",
        *_recalibration(version),
        f"code: git commit {tags.get('git_commit')}"
        + (" with uncommitted changes" if tags.get("git_dirty") == "True" else ""),
        f"code stored with the model: digest {code}, {same} the code here",
        f"trial: run of the search {tags.get('tuning_run_id')}, best trial {best_trial}",
        f"environment: {', '.join(packages)}; {len(found.environment)} packages in the run's environment.txt",
        f"positive means {tags.get('positive_means', EARLIER_POSITIVE)}",
        f"images: {len(images)}, digest of the packed cohort {tags.get('data_digest')}",
    ]
    for (dataset, split), rows in images.groupby(["dataset", "split"]):
        lines.append(f"  {dataset} {split}: {len(rows)}, {int(rows['target'].sum())} positive")
    for (dataset, licence), rows in images.groupby(["dataset", "licence"], dropna=False):
        lines.append(f"  {dataset}: {len(rows)} under {_or_blank(licence)}, {_names(rows['attribution'])}")
    if with_ids:
        lines += [f"  {row.image_id} {row.split} {_or_blank(row.licence)}" for row in images.itertuples()]
    return lines


def _recalibration(version: Version) -> list[str]:
    """A line about a recalibrated version; its run and data are those of its network."""
    tags = version.tags
    if versions.CLINIC_TAG not in tags:
        return []
    line = f"recalibrated for the clinic {tags[versions.CLINIC_TAG]} from version {tags[versions.SOURCE_TAG]}"
    return [f"{line}, run {tags[versions.RECALIBRATION_TAG]}; all else is about its network"]


def _parameters(found: Origin) -> Table:
    table = Table("parameter", box=box.SIMPLE)
    table.add_column("value", overflow="fold")
    for name, value in sorted(found.params.items()):
        table.add_row(name, value)
    return table


def _or_blank(licence: object) -> str:
    return licence if isinstance(licence, str) else "no recorded licence"


def _names(attributions: pd.Series) -> str:
    return "; ".join(sorted(attributions.dropna().unique())) or "no attribution"


@dataclass(frozen=True)
class Check:
    """Whether one path of data, or the code, is the same as at training.

    Attributes:
        what: Path and hash at training, or `code`.
        problem: What is wrong, or why that is unknown; None if nothing is wrong.
        is_known: Whether the check could be made.
    """

    what: str
    problem: str | None = None
    is_known: bool = True

    @property
    def is_ok(self) -> bool:
        """Whether the check was made and found nothing wrong."""
        return self.problem is None

    def line(self) -> str:
        """The outcome in one line."""
        outcome = "ok       " if self.is_ok else "NOT OK   " if self.is_known else "NOT KNOWN"
        return f"  {outcome} {self.what}" + (f": {self.problem}" if self.problem else "")


def _check_code(found: Origin) -> Check:
    """Whether the run records its commit and the state of the working tree, and git still has the commit."""
    commit, dirty = (found.tags.get(tag, UNKNOWN) for tag in (COMMIT_TAG, DIRTY_TAG))
    if UNKNOWN in (commit, dirty):
        what = "commit" if commit == UNKNOWN else "state of the working tree"
        reason = found.tags.get(PROBLEM_TAG, "the run has no reason recorded")
        return Check("code", f"the {what} is not known: {reason}", is_known=False)
    is_here, reason = find_commit(commit)
    if is_here is None:
        return Check("code", f"git cannot look up commit {commit}: {reason}", is_known=False)
    return Check("code", None if is_here else f"git has no commit {commit} here; fetch it: `git fetch --all`")


def _check_model(version: Version) -> Check:
    """Whether the model's files, including its code, are those that were registered."""
    what = "files of the model"
    if FILES_TAG not in version.tags:
        return Check(what, f"the version has no tag {FILES_TAG} to compare them with", is_known=False)
    with tempfile.TemporaryDirectory(prefix="trace-") as folder:
        try:
            files = versions.download_version(version, Path(folder))
        except TrackingError as error:
            return Check(what, str(error), is_known=False)
        try:
            versions.require_same_files(version, files)
        except TrackingError as error:
            return Check(what, str(error))
    return Check(what)


def _check_data(found: Origin) -> list[Check]:
    """Whether each path of data is recorded with the hash of the run, and whole in the cache or remote."""
    at_training, now = found.data_hashes, data_hashes()
    version = data_versions.read_version()
    return [_check_path(version, path, oid, now.get(path)) for path, oid in sorted(at_training.items())]


def _check_path(version: data_versions.Version, path: str, oid: str, now: str | None) -> Check:
    what = f"{path} {oid}"
    if now is None:
        return Check(what, "missing in dvc.lock and data/raw")
    if now != oid:
        return Check(what, f"differs: {oid} at training, {now} now")
    if _is_whole_in_cache(version, oid):
        return Check(what)
    try:
        fault = _fault(version, path, oid)
    except MelanomaError as error:
        reason = f"incomplete in the DVC cache, and the remote cannot be read: {error}"
        return Check(what, reason + data_versions.hint_at_cache(), is_known=False)
    return Check(what, fault)


def _is_whole_in_cache(version: data_versions.Version, oid: str) -> bool:
    """Whether DVC's cache holds the object and, for a folder, all of its files."""
    if not version.is_cached(oid):
        return False
    is_folder = oid.endswith(data_versions.FOLDER_SUFFIX)
    files = data_versions.read_cached_folder(version, oid) if is_folder else []
    return all(version.is_cached(file["md5"]) for file in files)


def _fault(version: data_versions.Version, path: str, oid: str) -> str | None:
    """Names what neither DVC's cache nor the remote holds whole; None if there is nothing."""
    remote = Remote(version)
    objects = {oid: path}
    faults = {} if version.is_cached(oid) else remote.find_faults([oid])
    if oid.endswith(data_versions.FOLDER_SUFFIX) and not faults:
        objects = {file["md5"]: f"{path}/{file['relpath']}" for file in remote.read_folder(oid)}
        faults = remote.find_faults([name for name in objects if not version.is_cached(name)])
    if not faults:
        return None
    where = "incomplete in the DVC cache and in the remote"
    return f"{where}: {data_versions.describe(faults, objects)}{data_versions.hint_at_cache()}"
