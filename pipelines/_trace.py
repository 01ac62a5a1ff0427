"""What the script `trace` says of a version, and how it checks the data against DVC."""

from dataclasses import dataclass, replace

import pandas as pd

from melanoma import storage, tracking
from melanoma.errors import MelanomaError
from melanoma.registry.origin import Origin
from pipelines import _versions

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
    lines = [
        f"{version.name} version {version.version}, aliases {', '.join(version.aliases) or 'none'}; {kind}",
        f"model {tags.get('model')}, gate {version.tags.get('gate')}, run {version.tags['run_id']}",
        f"code: git commit {tags.get('git_commit')}"
        + (" with uncommitted changes" if tags.get("git_dirty") == "True" else ""),
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
    """Whether one path of data is what it was at training, by its hash of then."""

    path: str
    oid: str
    problem: str | None

    @property
    def is_ok(self) -> bool:
        """No problem was found."""
        return self.problem is None

    def line(self) -> str:
        """For people."""
        return f"  {'ok     ' if self.is_ok else 'NOT OK '} {self.path} {self.oid}" + (
            f": {self.problem}" if self.problem else ""
        )


def check_data(found: Origin) -> list[Check]:
    """Each path of data of which the run has a hash: recorded now as then, and whole somewhere."""
    then, now = found.data_hashes, tracking.data_hashes()
    version = _versions.read_version()
    return [
        Check(path, oid, _problem(version, path, oid, now.get(path))) for path, oid in sorted(then.items())
    ]


def _problem(version: _versions.Version, path: str, oid: str, now: str | None) -> str | None:
    if now is None:
        return "gone from dvc.lock and data/raw"
    if now != oid:
        return f"differs: {oid} at training, {now} now"
    return _fault(replace(version, outputs={oid: path}))


def _fault(version: _versions.Version) -> str | None:
    """What neither DVC's cache nor the store holds whole, the files of folders included."""
    try:
        store = storage.connect(version.url, endpoint_url=version.endpoint_url)
        objects = _versions.list_objects(version, store)
        faults = _versions.find_faults(store, [oid for oid in objects if not version.is_cached(oid)])
    except MelanomaError as error:
        return f"not whole in DVC's cache, and not to be had from the store: {error}"
    if not faults:
        return None
    return f"neither in DVC's cache nor whole in the store: {_versions.describe(faults, objects)}"
