"""What the script `trace` says of a version, and how it checks code and data.

A check has three outcomes: ok, NOT OK, and NOT KNOWN where git or a remote could not be asked. What lies
whole in DVC's cache needs no remote.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from melanoma.errors import MelanomaError, TrackingError
from melanoma.fingerprint import CODE_TAG, FILES_TAG, digest_of_code
from melanoma.lineage import COMMIT_TAG, DIRTY_TAG, PROBLEM_TAG, UNKNOWN, data_hashes, find_commit
from melanoma.registry import versions
from melanoma.registry.origin import Origin
from melanoma.registry.versions import Version
from melanoma.stages import data_versions, remotes

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


def describe(found: Origin, *, with_ids: bool) -> list[str]:
    """Lines for people."""
    version, images, tags = found.version, found.images, found.tags
    kind = "SYNTHETIC images" if tags.get("is_synthetic") == "true" else "real images"
    packages = [line for line in found.environment if line.split("==")[0].lower() in SHOWN_PACKAGES]
    code = version.tags.get(CODE_TAG, "not recorded")
    lines = [
        f"{version.name} version {version.version}, aliases {', '.join(version.aliases) or 'none'}; {kind}",
        f"model {tags.get('model')}, gate {version.tags.get('gate')}, run {version.tags['run_id']}",
        f"code: git commit {tags.get('git_commit')}"
        + (" with uncommitted changes" if tags.get("git_dirty") == "True" else ""),
        f"code that answers: digest {code}, {'the same' if code == digest_of_code() else 'other'} code here",
        f"trial: study run {tags.get('tuning_run_id')}, its best trial {found.best_trial or 'not recorded'}",
        "parameters: " + ", ".join(f"{name} {value}" for name, value in sorted(found.params.items())),
        f"environment: {', '.join(packages)}; {len(found.environment)} packages in the run's environment.txt",
        f"images: {len(images)}, digest of the packed cohort {tags.get('data_digest')}",
    ]
    for (dataset, split), rows in images.groupby(["dataset", "split"]):
        lines.append(f"  {dataset} {split}: {len(rows)}, {int(rows['target'].sum())} malignant")
    for (dataset, licence), rows in images.groupby(["dataset", "licence"], dropna=False):
        lines.append(f"  {dataset}: {len(rows)} under {_or_blank(licence)}, {_names(rows['attribution'])}")
    if with_ids:
        lines += [f"  {row.image_id} {row.split} {_or_blank(row.licence)}" for row in images.itertuples()]
    return lines


def _or_blank(licence: object) -> str:
    return licence if isinstance(licence, str) else "no recorded licence"


def _names(attributions: pd.Series) -> str:
    return "; ".join(sorted(attributions.dropna().unique())) or "nobody named"


@dataclass(frozen=True)
class Check:
    """Whether one path of data, or the code, is what it was at training.

    Attributes:
        what: Path and hash of then, or `code`.
        problem: What is wrong, or why nobody can tell; None where all is well.
        is_known: Whether it could be found out.
    """

    what: str
    problem: str | None = None
    is_known: bool = True

    @property
    def is_ok(self) -> bool:
        """It was found out that nothing is wrong."""
        return self.problem is None

    def line(self) -> str:
        """For people."""
        outcome = "ok       " if self.is_ok else "NOT OK   " if self.is_known else "NOT KNOWN"
        return f"  {outcome} {self.what}" + (f": {self.problem}" if self.problem else "")


def check_code(found: Origin) -> Check:
    """Whether the run knows its commit and what was changed then, and git has that commit still."""
    commit, dirty = (found.tags.get(tag, UNKNOWN) for tag in (COMMIT_TAG, DIRTY_TAG))
    if UNKNOWN in (commit, dirty):
        what = "commit" if commit == UNKNOWN else "state of the working tree"
        reason = found.tags.get(PROBLEM_TAG, "the run does not say why")
        return Check("code", f"its {what} is not known: {reason}", is_known=False)
    is_here, reason = find_commit(commit)
    if is_here is None:
        return Check("code", f"git cannot say whether it has commit {commit}: {reason}", is_known=False)
    return Check("code", None if is_here else f"git has no commit {commit} here; fetch it: `git fetch --all`")


def check_model(version: Version) -> Check:
    """Whether the model's files, its code among them, are those that were registered."""
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


def check_data(found: Origin) -> list[Check]:
    """Each path of data of which the run has a hash: recorded now as then, and whole somewhere."""
    then, now = found.data_hashes, data_hashes()
    version = data_versions.read_version()
    return [_check_path(version, path, oid, now.get(path)) for path, oid in sorted(then.items())]


def _check_path(version: data_versions.Version, path: str, oid: str, now: str | None) -> Check:
    what = f"{path} {oid}"
    if now is None:
        return Check(what, "gone from dvc.lock and data/raw")
    if now != oid:
        return Check(what, f"differs: {oid} at training, {now} now")
    if _is_whole_in_cache(version, oid):
        return Check(what)
    try:
        fault = _fault(version, path, oid)
    except MelanomaError as error:
        reason = f"not whole in DVC's cache, and the remote cannot be asked: {error}"
        return Check(what, reason + data_versions.hint_at_cache(), is_known=False)
    return Check(what, fault)


def _is_whole_in_cache(version: data_versions.Version, oid: str) -> bool:
    """DVC's cache holds the object and, of a folder, all of its files: no remote is needed then."""
    if not version.is_cached(oid):
        return False
    is_folder = oid.endswith(data_versions.FOLDER_SUFFIX)
    files = data_versions.read_cached_folder(version, oid) if is_folder else []
    return all(version.is_cached(file["md5"]) for file in files)


def _fault(version: data_versions.Version, path: str, oid: str) -> str | None:
    """What neither DVC's cache nor the remote holds whole, the files of a folder included."""
    remote = remotes.connect(version)
    objects = {oid: path}
    faults = {} if version.is_cached(oid) else remote.find_faults([oid])
    if oid.endswith(data_versions.FOLDER_SUFFIX) and not faults:
        is_here = version.is_cached(oid)
        files = data_versions.read_cached_folder(version, oid) if is_here else remote.read_list(oid)
        objects = {file["md5"]: f"{path}/{file['relpath']}" for file in files}
        faults = remote.find_faults([name for name in objects if not version.is_cached(name)])
    if not faults:
        return None
    where = "neither in DVC's cache nor whole in the remote"
    return f"{where}: {data_versions.describe(faults, objects)}{data_versions.hint_at_cache()}"
