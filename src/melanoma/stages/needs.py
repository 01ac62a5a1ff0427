"""What a command needs before it can start: results, a tracking store, a model to serve, a free port.

MLflow itself answers with a traceback, or makes an empty store where there is none.
"""

from collections.abc import Collection
from pathlib import Path

from melanoma import project
from melanoma.errors import DataError, TrackingError
from melanoma.stages import ports


def require_store() -> None:
    """Raise a `TrackingError` if the store is a file that does not exist yet."""
    file = project.file_of(project.tracking_uri())
    if file is not None and not file.is_file():
        raise TrackingError(f"There are no runs yet: {file} does not exist. Run `make demo` first.")


def require_results(reports: Path) -> None:
    """Raise a `DataError` if no pipeline has written its results below `reports` yet."""
    if not any((reports / "headlines").glob("*.json")) or not (reports / "data").is_dir():
        raise DataError(f"There are no results in {reports} yet. Run `make demo` or `dvc repro` first.")


def require_staging(cohort: str, cohorts: Collection[str]) -> None:
    """Refuse a cohort without a model at the alias `staging`.

    Args:
        cohort: Name of the cohort.
        cohorts: Names of the declared cohorts.

    Raises:
        TrackingError: No version of the cohort's model holds the alias; says which cohorts have one.
    """
    from melanoma.registry import versions

    def has_model(name: str) -> bool:
        return versions.find_version(versions.model_name(name), versions.STAGING) is not None

    if has_model(cohort):
        return
    ready = [name for name in cohorts if has_model(name)]
    if cohort in cohorts:
        problem = f"Cohort {cohort} has no model at the alias staging"
        cure = f"To train one, bring in its images and add {cohort} to run.cohorts (README.md, Real data)"
    else:
        problem = f"There is no cohort {cohort}"
        cure = f"Cohorts of params.yaml: {', '.join(cohorts)}"
    instead = f"Ready to serve: {', '.join(ready)}" if ready else "No cohort has one: run `make demo`"
    raise TrackingError(f"{problem}. {cure}. {instead}.")


def require_free_port(port: int, example: str) -> None:
    """Refuse a port on which another program listens.

    Args:
        port: Number of the port.
        example: Command that takes another port, up to its number, for instance `make ui UI_PORT=`.

    Raises:
        DataError: It is in use, or the system forbids it; names a free port.
    """
    try:
        if ports.is_free(port):
            return
        problem, other = "is in use by another program", ports.next_free(port)
    except PermissionError:
        problem, other = "is reserved for the administrator", ports.next_free(ports.LAST_RESERVED)
    raise DataError(f"Port {port} {problem}. Choose another: `{example}{other}`.")
