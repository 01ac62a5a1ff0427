"""Body of the command `monitor`: compare a window of records with the reference of a version, and report."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from melanoma import files, tracking
from melanoma.config import Params
from melanoma.data.checks import served
from melanoma.errors import DataError
from melanoma.monitoring import records, reference, shift, window_report, windows
from melanoma.monitoring.records import FACT
from melanoma.monitoring.sensitivity import Sensitivity
from melanoma.monitoring.windows import Axes
from melanoma.registry import ledger, versions
from melanoma.scoring.quality import Bounds
from melanoma.scoring.unlike import Unlike
from melanoma.stages import labelled_answers
from melanoma.stages import records as stored
from melanoma.stages.labelled_answers import NOTHING, InUse
from melanoma.stages.monitored import EXPERIMENT

PAGE, RESULT, DOCS = "index.html", "window.json", "checks"
NO_ROWS = "The window has no rows of this version."


@dataclass(frozen=True)
class Period:
    """A period of time, in UTC: from `since` to before `until`."""

    since: datetime
    until: datetime

    @property
    def words(self) -> str:
        """For a sentence."""
        return f"{self.since.isoformat()} to {self.until.isoformat()}"


@dataclass(frozen=True)
class Asked:
    """What is monitored.

    Attributes:
        model: Name of the registered model.
        number: Number of its version; None for the one with the alias `staging`.
        place: Folder or `s3://bucket/folder` of the records.
        window: The window.
        labels: Label files, see `monitoring.labels`.
        accepted: A period whose answers replace the version's reference: the first months of a clinic, once
            somebody has accepted them. None compares with the version's own validation images.
        out: Folder to write; it is replaced.
    """

    model: str
    number: int | None
    place: str
    window: Period
    accepted: Period | None
    labels: Sequence[Path]
    out: Path


@dataclass(frozen=True)
class Served:
    """What a version takes along.

    Attributes:
        version: The version.
        reference: Its answers on validation images.
        bounds: Bounds of its image facts; None if it refers no image as unlike.
    """

    version: versions.Version
    reference: pd.DataFrame
    bounds: Bounds | None


@dataclass(frozen=True)
class Work:
    """A window with all that it is compared with.

    Attributes:
        asked: What is monitored.
        params: Content of params.yaml.
        model: The version.
        window: Records of the window.
        accepted: Records of the accepted period; None if the version's reference is used.
        in_use: What labels say up to the end of the window.
    """

    asked: Asked
    params: Params
    model: Served
    window: pd.DataFrame
    accepted: pd.DataFrame | None
    in_use: InUse


def run(asked: Asked, params: Params) -> tuple[str, bool]:
    """Measure the window; write page, JSON and Data Docs, an MLflow run and an entry of the ledger.

    Args:
        asked: What is monitored.
        params: Content of params.yaml; section `monitor`, and `validate` for the checks.

    Returns:
        A summary line, and whether there is an alarm.

    Raises:
        DataError: The records cannot be read, or the periods overlap or end before they begin.
        TrackingError: There is no such version, or it takes no reference along.
    """
    _require_sensible(asked)
    with stored.opened(asked.place) as folder, tempfile.TemporaryDirectory(prefix="monitor-") as scratch:
        found = records.read(folder, spool=stored.local_spool(asked.place))
        model = _open_version(asked, Path(scratch))
        rows, others = stored.of_version(found.rows, model.version)
        accepted = None if asked.accepted is None else _within(rows, asked.accepted)
        in_use = NOTHING
        if asked.labels:
            until_now = rows[rows["time"] < asked.window.until]
            in_use = labelled_answers.measure(until_now, found.rows, folder, asked.labels, params)
        work = Work(asked, params, model, _within(rows, asked.window), accepted, in_use)
        shifted, figure = _compare(work)
        result = _describe(work, shifted, problems=dict(found.problems) | others)
        result["notes"] += found.describe()
        with files.atomic_folder(asked.out) as out:
            result["checks"] = _check(work, out, Path(scratch))
            files.write_text(window_report.render(files.as_json(result), figure), out / PAGE)
            files.write_json(result, out / RESULT)
        _log(asked, model.version, files.as_json(result))
    words = "; ".join(result["alarms"]) or "no alarm"
    version, num_rows = model.version.version, result["rows"]["num_rows"]
    return f"{num_rows} rows of version {version}, {words} -> {asked.out}", bool(result["alarms"])


def _require_sensible(asked: Asked) -> None:
    for period in filter(None, (asked.window, asked.accepted)):
        if period.since >= period.until:
            raise DataError(f"The period {period.words} ends before it begins. Give --since before --until.")
    one, two = asked.window, asked.accepted
    if two is not None and one.since < two.until and two.since < one.until:
        raise DataError(
            f"The window {one.words} and the accepted period {two.words} overlap, so the window would be "
            "compared with itself. Give periods that do not overlap."
        )


def _open_version(asked: Asked, folder: Path) -> Served:
    version = versions.numbered_or_staged(asked.model, asked.number)
    artifacts = versions.download_version(version, folder / "model") / "artifacts"
    path = artifacts / "reference.parquet"
    if not path.exists():
        raise DataError(
            f"{version.name} version {version.version} takes no reference along: an earlier version of the "
            "code logged it. Run `dvc repro` to log it again."
        )
    unlike = artifacts / "unlike.npz"
    bounds = Unlike.load(unlike).bounds if unlike.exists() else None
    return Served(version, reference.read(path), bounds)


def _within(rows: pd.DataFrame, period: Period) -> pd.DataFrame:
    is_in = (rows["time"] >= period.since) & (rows["time"] < period.until)
    return rows[is_in].reset_index(drop=True)


def _compare(work: Work) -> tuple[shift.Shift, Figure | None]:
    """The test against the reference, and a figure of the most shifted features; None without rows."""
    settings, model, accepted = work.params.monitor, work.model, work.accepted
    facts = [str(name) for name in model.reference if str(name).startswith(FACT)]
    axes = Axes.of(model.reference, settings.num_axes)
    compared = windows.features(model.reference if accepted is None else accepted, axes, facts)
    mine = windows.features(work.window, axes, facts)
    found = shift.compare(
        compared,
        mine,
        model.reference["group_key"] if accepted is None else windows.group_of(accepted),
        windows.group_of(work.window),
        alpha=settings.alpha_shift,
        num_windows=settings.num_windows,
        min_effect=settings.min_effect,
        seed=settings.seed,
    )
    tested = [one for one in found.features if not one.undefined]
    tested.sort(key=lambda one: -abs(one.standardised_difference))
    drawn = window_report.draw(compared, mine, [one.name for one in tested]) if tested else None
    return found, drawn


def _describe(work: Work, found: shift.Shift, *, problems: Mapping[str, int]) -> dict[str, Any]:
    """Content of the JSON file but for the checks."""
    asked, number, settings = work.asked, str(work.model.version.version), work.params.monitor
    accepted = asked.accepted and f"the accepted answers from {asked.accepted.words}"
    in_use = work.in_use
    return {
        "model": asked.model,
        "version": number,
        "since": asked.window.since.isoformat(),
        "until": asked.window.until.isoformat(),
        "reference": accepted or f"the validation images of version {number}",
        "rows": _count(work.window),
        "problems": problems,
        "shift": found.to_dict(),
        "min_effect": settings.min_effect,
        "min_sensitivity": settings.min_sensitivity,
        "sensitivity": in_use.sensitivity and asdict(in_use.sensitivity),
        "calibration": in_use.calibration,
        "num_labelled_audit": in_use.num_labelled,
        "alarms": _alarms(found, in_use.sensitivity, settings.min_sensitivity),
        "notes": [*([] if len(work.window) else [NO_ROWS]), *in_use.problems],
    }


def _alarms(found: shift.Shift, in_use: Sensitivity | None, minimum: float) -> list[str]:
    alarms = []
    if found.is_alarm:
        shifted = [f"{one.name} ({one.effect:+.2f})" for one in found.features if one.is_shifted]
        alarms.append(f"the answers are shifted against the reference: {', '.join(shifted)}")
    if in_use is not None and in_use.is_below_minimum:
        alarms.append(f"the sensitivity in use is below {minimum:g}: estimate {in_use.estimate:.3f}")
    return alarms


def _count(window: pd.DataFrame) -> dict[str, Any]:
    return {
        "num_rows": len(window),
        "num_groups": int(windows.group_of(window).nunique()),
        "num_without_group": int(window["group_key"].isna().sum()),
        "num_refused": int(window["refusal"].notna().sum()),
        "decisions": {str(name): int(num) for name, num in window["decision"].value_counts().items()},
    }


def _check(work: Work, out: Path, scratch: Path) -> list[dict[str, Any]]:
    """Run the checks of images; the Data Docs go to `out`."""
    window, bounds = work.window, work.model.bounds
    if not len(window):
        return []
    table = window[["prediction_id"]].assign(
        is_answered=window["refusal"].isna(), smaller_side=window[["width", "height"]].min(axis=1)
    )
    ranges = {} if bounds is None else dict(bounds.ranges)
    for name in ranges:
        table[name] = window.get(f"{FACT}{name}", pd.Series(float("nan"), index=window.index))
    project = scratch / "checks"
    project.mkdir()
    title = f"Images sent to {work.asked.model}, {work.asked.window.words}"
    entries, docs = served.check(table, ranges, work.params.checks, title=title, folder=project)
    shutil.copytree(docs, out / DOCS)
    return entries


def _log(asked: Asked, version: versions.Version, result: Mapping[str, Any]) -> None:
    tags = {
        "model": asked.model,
        "version": version.version,
        "since": result["since"],
        "until": result["until"],
        "is_alarm": str(bool(result["alarms"])).lower(),
    }
    words = "; ".join(result["alarms"]) or "no alarm"
    name = f"{asked.model} version {version.version}, {asked.window.since:%Y-%m-%d}"
    note = f"Answers from {asked.window.words}, compared with {result['reference']}: {words}."
    with tracking.open_run(experiment=EXPERIMENT, name=name, tags=tags, note=note) as run:
        measured = {"rows": result["rows"]["num_rows"], "refused": result["rows"]["num_refused"]}
        values = {"p_value": result["shift"]["p_value"], **measured}
        if result["sensitivity"] is not None:
            values["sensitivity"] = result["sensitivity"]["estimate"]
        values |= {f"effect_{one['name']}": one["effect"] for one in result["shift"]["features"]}
        run.log_metrics(
            {f"{ledger.MONITOR}/{key}": value for key, value in values.items() if value is not None}
        )
        run.log_file(asked.out / RESULT)
        run.log_file(asked.out / PAGE)
        ledger.add(
            asked.model,
            ledger.MONITOR,
            by="pipelines.monitor",
            reason=words,
            tags=tags | {"run": run.run_id},
            evidence=result,
        )
