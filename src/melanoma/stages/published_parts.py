"""Parts of the published results: each cohort and the study, with the code and parameters they came from.

Parts may be published one by one, as they come. All of them must come from one `code.json` and one
`params.yaml`: a result of older code is never mixed in.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from melanoma import config, files
from melanoma.config import Params
from melanoma.errors import DataError, first_offenders
from melanoma.fingerprint import sha256_of_file
from melanoma.page.render import Origin
from melanoma.stages import published

SAME = ("code.json", "params.yaml")
WAY_OUT = (
    "Results of different versions are not mixed. Publish everything again from the present state with "
    "--replace, which removes what was published before, or go back to the code and parameters of the "
    "published results."
)


def known(params: Params) -> tuple[str, ...]:
    """Names of all parts: the active cohorts, and the study."""
    return (*params.run.cohorts, published.STUDY)


def digests() -> dict[str, str]:
    """SHA-256 of `code.json` and `params.yaml` as they are now, by name."""
    return {name: sha256_of_file(Path(name)) for name in SAME}


def before(folder: Path, parts: Sequence[str], raw_digests: Mapping[str, str]) -> Origin | None:
    """The origin of the published results that stay, which must be that of the parts that are added.

    Args:
        folder: Folder with the published results; may be empty.
        parts: The parts to add; they replace what was published under their name.
        raw_digests: Digest of the raw images of each active dataset, as `Origin.raw_digests`.

    Returns:
        None if nothing stays.

    Raises:
        DataError: Results that stay are of other code, parameters or raw images, or do not say of which.
    """
    if not (folder / published.ORIGIN).is_file():
        return None
    origin = published.read_origin(folder)
    if not origin.parts:
        raise DataError(f"{folder} holds results of an earlier version, without digests. {WAY_OUT}")
    others = [name for name in origin.parts if name not in parts]
    if not others:
        return None
    now, of_images = digests(), origin.raw_digests
    changed = [name for name, digest in raw_digests.items() if of_images.get(name, digest) != digest]
    reasons = [f"the raw images of {first_offenders(changed)} have changed"] if changed else []
    if any({key: origin.parts[name][key] for key in SAME} != now for name in others):
        reasons = [*_differences(folder), *reasons]
    if reasons:
        raise DataError(
            f"{first_offenders(parts)} cannot be added to the published results of "
            f"{first_offenders(others)}: {'; '.join(reasons)}. {WAY_OUT}"
        )
    return origin


def _differences(folder: Path) -> Iterator[str]:
    """What differs between the published and the present files, a phrase for each file."""
    for name, (what, read) in READ.items():
        earlier, now = (read(path) if path.is_file() else {} for path in (folder / name, Path(name)))
        differing = sorted(key for key in {*earlier, *now} if earlier.get(key) != now.get(key))
        if differing:
            yield f"{name} differs in the {what} {first_offenders(differing)}"
        elif sha256_of_file(Path(name)) != sha256_of_file(folder / name):
            yield f"{name} has the same {what} and another text"


def _read_stages(path: Path) -> dict[str, Any]:
    return {name: digest for name, digest in files.read_json(path).items() if isinstance(digest, str)}


def _read_keys(path: Path) -> dict[str, Any]:
    return dict(_flat(config.read_yaml(path)))


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


READ = {"code.json": ("stages", _read_stages), "params.yaml": ("keys", _read_keys)}


def keep_others(folder: Path, unfinished: Path, parts: Iterable[str], *, datasets: Iterable[str]) -> None:
    """Copy the published results to a new folder, without the folders that are written anew."""
    shutil.copytree(folder, unfinished, dirs_exist_ok=True)
    for path in [*parts, *(f"{published.CARDS}/{dataset}" for dataset in datasets)]:
        shutil.rmtree(unfinished / path, ignore_errors=True)


def merged(
    params: Params,
    earlier: Origin | None,
    now: Origin,
    parts: Sequence[str],
    *,
    datasets: Sequence[str],
    not_run_of_study: Sequence[str] = (),
) -> Origin:
    """The origin of all published parts.

    Args:
        params: All parameters.
        earlier: Origin of the results that stay; None if there are none.
        now: Origin of the present state, with the models of `parts`.
        parts: The parts that are published now.
        datasets: Datasets of these parts.
        not_run_of_study: Stages of the study that were not run, if it is among these parts.
    """
    added = {
        name: {"git_commit": now.git_commit, "published_at": now.results_at, **digests()} for name in parts
    }
    of_parts = dict(earlier.parts if earlier else {}) | added
    models = dict(earlier.models if earlier else {}) | dict(now.models)
    raw = {name: now.raw_digests[name] for name in datasets}
    in_order = [name for name in known(params) if name in of_parts]
    not_run = [name for name in known(params) if name not in of_parts]
    if earlier and published.STUDY not in parts:
        not_run_of_study = earlier.not_run_of_study
    return replace(
        now,
        note=_note({name: of_parts[name]["git_commit"] for name in in_order}),
        raw_digests=dict(earlier.raw_digests if earlier else {}) | raw,
        models={name: models[name] for name in in_order if name in models},
        parts={name: of_parts[name] for name in in_order},
        not_run=not_run,
        not_run_of_study=not_run_of_study,
    )


def _note(commits: Mapping[str, str]) -> str:
    """Which parts come from which commit, in a sentence."""
    by_commit: dict[str, list[str]] = {}
    for name, commit in commits.items():
        by_commit.setdefault(commit, []).append(name)
    if len(by_commit) == 1:
        return f"Published results of commit {next(iter(by_commit))[:10]}."
    told = "; ".join(f"{', '.join(names)} of commit {commit[:10]}" for commit, names in by_commit.items())
    return f"Published results, from one code.json and one params.yaml: {told}."
