"""Publishes results: copies what the project claims, and what is needed to check it, into one folder.

Cohorts and the study are published together or one by one, the study with those of its stages that were run.
Each comes from one commit, and all of them from one `code.json` and one `params.yaml`: uncommitted changes,
stale stages, runs of uncommitted code and results of other code are refused.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from melanoma import files, lineage, tracking
from melanoma.config import Params
from melanoma.errors import DataError, first_offenders
from melanoma.fingerprint import sha256_of_file
from melanoma.project import working_tree
from melanoma.stages import published, published_parts
from melanoma.stages.data_check import manifest
from melanoma.stages.page import CROSSVALIDATION, current_origin, read_headlines
from melanoma.stages.page import PAGE as PAGE_STAGE

CODE = "code"
GRAPH, STUDY_GRAPH = "dvc.yaml", "pipelines/study/dvc.yaml"
STAGES_OF_DATASETS = ("ingest", "inspect", "validate", "card")  # the others with an item run for each cohort
REPORTS, STUDY = Path("reports"), Path("reports/study")
COHORT_FILES = (
    "metrics.json",
    "audit.json",
    "seeds.json",
    "tuning.json",
    "slices.json",
    "promotion.json",
    "segmentation.json",
    "split.json",
    "model_card.md",
)
INPUTS = ("params.yaml", "code.json", "dvc.lock")
SPLIT_COLUMNS = ["image_id", "group_id", "split"]
STUDY_SUFFIXES = (".json", ".csv", ".png", ".md")


def publish(
    params: Params, *, folder: Path, parts: Sequence[str] | None = None, is_replaced: bool = False
) -> list[Path]:
    """Publish the current results, and fill the tables of the documents.

    Args:
        params: All parameters.
        folder: Folder of the published results. Other parts in it stay.
        parts: Active cohorts, and `study`; None for all active cohorts, and the study if it was run.
        is_replaced: Whether everything that was published before is removed.

    Returns:
        The documents that changed.

    Raises:
        DataError: The results are not those of the current commit or not of the code and parameters of those
            that were published before, or a file is missing.
    """
    chosen = _Chosen.of(params, parts)
    _require_clean_tree(folder)
    _write_code_digests()
    study = _require_all_current(chosen)
    _require_clean_tree(folder)  # again: the digests may have changed dvc.lock
    sources = dict(_sources(chosen, study))
    for source in sources.values():
        files.require(source)
    headlines = read_headlines(REPORTS / published.HEADLINES, chosen.cohorts)
    runs = {
        run_id: tracking.read_run(run_id).data.tags
        for found in headlines
        for run_id in found["run_ids"].values()
    }
    _refuse_dirty([*dirty_files(sources.values()), *_dirty_runs(runs)])
    now = current_origin(params, graph=Path(GRAPH), headlines=headlines, note="")
    before = None if is_replaced else published_parts.before(folder, chosen.parts, now.raw_digests)
    origin = published_parts.merged(
        params, before, now, chosen.parts, datasets=chosen.datasets, not_run_of_study=study.not_run
    )
    commits = {} if before is None else files.read_json(folder / published.ORIGIN)["commits_of_runs"]
    more = {
        "commits_of_runs": commits | {run_id: tags[lineage.COMMIT_TAG] for run_id, tags in runs.items()},
        "requirements_lock_sha256": sha256_of_file(Path("requirements.lock")),
    }
    with files.atomic_folder(folder) as unfinished:
        if before is not None:
            published_parts.keep_others(folder, unfinished, chosen.parts, datasets=chosen.datasets)
        _copy(sources, folder, unfinished)
        write_data(chosen.cohorts, chosen.datasets, unfinished)
        published.write_origin(origin, unfinished, more)
        files.write_text(published.draw(unfinished, params), unfinished / published.PAGE)
    return published.fill_documents(folder)


@dataclass(frozen=True)
class _Chosen:
    """What is published now: parts, the cohorts among them, and their datasets, as in params.yaml."""

    parts: Sequence[str]
    cohorts: Sequence[str]
    datasets: Sequence[str]

    @classmethod
    def of(cls, params: Params, parts: Sequence[str] | None) -> "_Chosen":
        known = published_parts.known(params)
        if parts is None:
            parts = known if STUDY.is_dir() else params.run.cohorts
        unknown = [part for part in parts if part not in known]
        if unknown:
            raise DataError(
                f"Published are active cohorts and the study ({', '.join(known)}), got "
                f"{first_offenders(unknown)}. Cohorts are activated in params.yaml: run.cohorts."
            )
        cohorts = [cohort for cohort in params.run.cohorts if cohort in parts]
        members = {name for cohort in cohorts for name in params.members(cohort)}
        return cls(parts, cohorts, [name for name in params.run.datasets if name in members])

    def concerns(self, stage: str) -> bool:
        """Whether a stage of the graph, `<name>` or `<name>@<dataset or cohort>`, belongs to what is chosen.

        A cohort may have the name of a dataset.
        """
        name, _, item = stage.partition("@")
        return not item or item in (self.datasets if name in STAGES_OF_DATASETS else self.cohorts)


@dataclass(frozen=True)
class _Study:
    """The study as far as it was run.

    Attributes:
        outputs: Files and folders that the stages which were run have written.
        not_run: Names of the other stages.
    """

    outputs: Sequence[Path] = ()
    not_run: Sequence[str] = ()

    @classmethod
    def of(cls, graph: str) -> "_Study":
        """Read the graph; a stage was run if an output is here or in the lock file.

        Raises:
            DataError: No stage was run.
        """
        try:
            with Repo(working_tree()) as repo:
                outs = {stage.name: stage.outs for stage in repo.index.stages if stage.relpath == graph}
        except DvcException as error:
            raise DataError(f"DVC cannot read {graph}: {error}") from error
        was_run = {name: any(out.exists or out.hash_info for out in own) for name, own in outs.items()}
        if not any(was_run.values()):
            raise DataError(
                f"No stage of {graph} was run. Run one, for instance `dvc repro {graph}:paper`, or all of "
                "them with `make study`; then publish again."
            )
        written = [Path(out.fs_path) for name, own in outs.items() if was_run[name] for out in own]
        return cls(
            [path.relative_to(working_tree()) for path in written],
            [name for name in outs if not was_run[name]],
        )


def _require_all_current(chosen: _Chosen) -> _Study:
    """Refuse stale stages of what is chosen; those of other cohorts and datasets may be stale.

    Returns:
        The study, if it is chosen.
    """
    if chosen.cohorts:
        _require_current(GRAPH, concerns=chosen.concerns)
    if published.STUDY not in chosen.parts:
        return _Study()
    study = _Study.of(STUDY_GRAPH)
    _require_current(STUDY_GRAPH, concerns=lambda stage: stage.partition(":")[2] not in study.not_run)
    return study


def _copy(sources: Mapping[str, Path], folder: Path, unfinished: Path) -> None:
    """Copy the results, and the documents of the published folder."""
    for name, source in sources.items():
        (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, unfinished / name)
    for document in folder.glob("*.md"):
        shutil.copyfile(document, unfinished / document.name)


def write_data(cohorts: Iterable[str], datasets: Iterable[str], folder: Path) -> None:
    """Write the split table of each cohort and the manifest of each dataset's raw data."""
    for cohort in cohorts:
        split = files.read_csv(Path(f"data/splits/{cohort}.csv"), dtype=str)
        files.write_csv(split[SPLIT_COLUMNS], folder / "splits" / f"{cohort}.csv")
    for dataset in datasets:
        files.write_csv(manifest(Path("data/raw") / dataset), folder / "raw" / f"{dataset}.csv")


def _sources(chosen: _Chosen, study: _Study) -> Iterator[tuple[str, Path]]:
    """The files to copy: name in the published folder, and path."""
    for cohort in chosen.cohorts:
        names = [*(f"{cohort}/{file}" for file in COHORT_FILES), f"{published.HEADLINES}/{cohort}.json"]
        optional = [f"{cohort}/{CROSSVALIDATION}"]
        for name in [*names, *(name for name in optional if (REPORTS / name).is_file())]:
            yield name, REPORTS / name
    for dataset in chosen.datasets:
        cards = REPORTS / published.CARDS
        for path in (cards / f"{dataset}.md", *sorted((cards / dataset).glob("*.png"))):
            yield path.relative_to(REPORTS).as_posix(), path
        pointer = Path(f"data/raw/{dataset}.dvc")
        if pointer.is_file():  # under another ending: DVC would take any *.dvc for its own
            yield f"raw/{dataset}.dvc.txt", pointer
    yield "duplicates.json", REPORTS / "duplicates.json"
    for name in INPUTS:
        yield name, Path(name)
    if published.STUDY in chosen.parts:
        yield "study.dvc.lock", Path(STUDY_GRAPH).with_suffix(".lock")
        for path in sorted(path for out in study.outputs for path in (out, *out.rglob("*"))):
            if path.suffix in STUDY_SUFFIXES and path.is_relative_to(STUDY):
                yield path.relative_to(REPORTS).as_posix(), path


def _write_code_digests() -> None:
    """Run the stage `code`, so that stages with changed code count as stale."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--quiet", "--single-item", CODE],
        cwd=working_tree(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DataError(f"The stage {CODE} failed, see `dvc repro {CODE}`: {done.stderr.strip()}")


def _require_clean_tree(folder: Path) -> None:
    changed, problem = lineage.ask_git("status", "--porcelain", "--", ".", f":(exclude){folder}")
    if changed is None:
        raise DataError(f"Results are published from a git commit, which cannot be determined: {problem}.")
    if changed:
        names = [line.split(maxsplit=1)[1] for line in changed.splitlines()]
        raise DataError(
            "Results can only be published from a clean working tree; these files are not committed: "
            f"{first_offenders(names)}. Commit or remove them, then publish again."
        )


def _require_current(graph: str, *, concerns: Callable[[str], bool]) -> None:
    """Refuse stages whose code, parameters, inputs or outputs changed since they ran.

    Args:
        graph: Path of the graph.
        concerns: Whether a stage must be current. The page need not be: it is drawn anew.
    """
    try:
        with Repo(working_tree()) as repo:
            status = repo.status(targets=[graph])
    except DvcException as error:
        raise DataError(f"DVC cannot compare the results with {graph}: {error}") from error
    stale = sorted(
        name
        for name, reasons in status.items()
        if reasons != ["always changed"] and name != PAGE_STAGE and concerns(name)
    )
    if stale:
        raise DataError(
            f"The results do not belong to the current code, parameters and data; stale stages of {graph}: "
            f"{first_offenders(stale)}. Run `dvc repro {graph}` or these stages alone, commit dvc.lock, then "
            "publish again."
        )


def dirty_files(paths: Iterable[Path]) -> Iterator[str]:
    """Those of the JSON files that say of a run that its code had uncommitted changes."""
    for path in paths:
        if path.suffix == ".json" and _says_dirty(files.read_json(path)):
            yield str(path)


def _says_dirty(content: Any) -> bool:
    if isinstance(content, dict):
        return str(content.get(lineage.DIRTY_TAG)) == "True" or any(map(_says_dirty, content.values()))
    return isinstance(content, list) and any(map(_says_dirty, content))


def _dirty_runs(runs: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for run_id, tags in runs.items():
        if tags.get(lineage.DIRTY_TAG) != "False":
            yield f"run {run_id}"


def _refuse_dirty(offenders: list[str]) -> None:
    if offenders:
        raise DataError(
            "Only results of committed code can be published; these were made with uncommitted changes: "
            f"{first_offenders(offenders)}. Commit the changes, then run these stages again with `dvc repro "
            "--force`."
        )
