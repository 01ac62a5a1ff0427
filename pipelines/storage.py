"""Bring the data of this version to the S3 store (push), or from there (pull), and check every object.

Not a stage. Run by `make data-push` and `make data-pull`. The store is DVC's default remote; keys and
endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION and, for a
store that is not AWS, AWS_ENDPOINT_URL_S3. Runs and registered models live in MLflow's stores, not here.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from tqdm import tqdm

from melanoma import storage
from melanoma.errors import StorageError
from melanoma.stages import data_versions
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Push or pull, and say what lies where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("direction", choices=("push", "pull"))
    direction = parser.parse_args(argv).direction

    version = data_versions.read_version(needs_remote=True)
    store = data_versions.connect(version)
    move = {"push": _push, "pull": _pull}[direction]
    summary = move(version, store)
    if version.num_unmade:
        summary += f"; without {version.num_unmade} outputs of stages that have not run"
    _cli.say(f"storage {direction}", summary)
    return 0


def _push(version: data_versions.Version, store: storage.Store) -> str:
    storage.ensure_bucket(store)
    is_done = _dvc("push")
    objects = data_versions.list_objects(version, store)
    # DVC takes a folder whose list lies in the store for complete, and never looks at bytes there.
    faults = data_versions.find_faults(store, objects)
    mended = {oid: fault for oid, fault in faults.items() if version.is_cached(oid)}
    for oid in tqdm(mended, desc="Mending", unit="object", disable=None):
        storage.upload(store, version.cached(oid), data_versions.object_name(oid))
    data_versions.require_whole(store, {oid: objects[oid] for oid in faults})
    _require_done("push", is_done)
    num_bytes = data_versions.num_stored_bytes(store, objects)
    summary = f"{len(objects)} objects, {num_bytes:,} bytes lie whole in {store}"
    if mended:
        what = data_versions.describe(mended, objects)
        summary += f"; {len(mended)} of them had to be mended there: {what}"
    return summary


def _pull(version: data_versions.Version, store: storage.Store) -> str:
    storage.require_bucket(store)
    objects = data_versions.list_objects(version, store)
    is_done = _dvc("pull", "--allow-missing")  # outputs not made yet are no failure
    # DVC compares checksums (`verify` in .dvc/config) and drops what arrives damaged, without naming it.
    absent = {oid: path for oid, path in objects.items() if not version.cached(oid).is_file()}
    data_versions.require_whole(store, absent)
    _require_done("pull", is_done)
    num_bytes = sum(version.cached(oid).stat().st_size for oid in objects)
    return f"{len(objects)} objects, {num_bytes:,} bytes are here, as in {store}"


def _dvc(*words: str) -> bool:
    return subprocess.run([sys.executable, "-m", "dvc", *words], check=False).returncode == 0


def _require_done(command: str, is_done: bool) -> None:
    if not is_done:
        raise StorageError(f"`dvc {command}` failed; its own words stand above. Mend that and run it again.")


if __name__ == "__main__":
    sys.exit(_cli.run(main))
