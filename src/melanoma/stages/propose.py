"""Body of the command `propose`: whether labels or alarms justify a new training, and what would run."""

import json
import math
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from melanoma import files, tracking
from melanoma.config import Params
from melanoma.config.monitoring import Propose
from melanoma.errors import DataError
from melanoma.evaluation.bootstrap import in_words
from melanoma.evaluation.calibration_measures import INTERCEPT, SLOPE
from melanoma.monitoring import labels as labelling
from melanoma.monitoring import records as reading
from melanoma.monitoring import windows
from melanoma.registry import ledger, origin, versions
from melanoma.schema import NOT_A_DEVICE
from melanoma.stages import monitored, records
from melanoma.stages.labelled_answers import AUC
from melanoma.stages.monitored import Window

TRAIN, RECALIBRATE, LABEL, NOTHING = "train", "recalibrate", "label", "nothing"
IN_WORDS = {
    TRAIN: "a new training is justified",
    RECALIBRATE: "a new calibration is justified, no new training",
    LABEL: "an alarm justifies a new training, but no image has a new label: label images first",
    NOTHING: "a new training is not justified",
}
DATASET, SOURCE = "clinic", "labelled"  # dataset of the labelled images, and the folder that fetch adds to it
IDEALS = {INTERCEPT: 0.0, SLOPE: 1.0}


@dataclass(frozen=True)
class Asked:
    """What is asked.

    Attributes:
        model: Name of the registered model, `melanoma-<cohort>`.
        number: Number of its version; None for the one with the alias `staging`.
        place: Folder or `s3://bucket/folder` of the records.
        labels: Label files, see `monitoring.labels`.
        images: Folder of the image files, for the commands.
        clinic: Name of the clinic, for the commands.
    """

    model: str
    number: int | None
    place: str
    labels: Sequence[Path]
    images: Path
    clinic: str

    @property
    def cohort(self) -> str:
        """The cohort of the model."""
        return self.model.removeprefix("melanoma-")


@dataclass(frozen=True)
class Facts:
    """What a proposal is made from.

    Attributes:
        num_new: Labelled groups (patients or lesions) with an image that the version's data lack.
        num_new_positive: Those of them with a positive label.
        windows: Windows that were monitored since the version got its alias, by their end.
        test_auc: AUC of the version on its test set; nan if its tags do not say.
        problems: Labels that were left out, a line for each reason.
    """

    num_new: int
    num_new_positive: int
    windows: Sequence[Window]
    test_auc: float
    problems: Sequence[str]


@dataclass(frozen=True)
class Proposal:
    """A proposal.

    Attributes:
        kind: `train`, `recalibrate`, `label` or `nothing`.
        reasons: Reasons in words.
        commands: Shell commands for a person to run, in order.
    """

    kind: str
    reasons: Sequence[str]
    commands: Sequence[str]


def run(asked: Asked, params: Params) -> list[str]:
    """Decide, and write the proposal into an MLflow run and an entry of the ledger. Nothing else is run.

    Args:
        asked: What is asked.
        params: Content of params.yaml; sections `propose`, `run` and `cohorts`.

    Returns:
        A summary line, and the proposed commands.

    Raises:
        DataError: The records or label files cannot be read, or params.yaml has no such cohort.
        TrackingError: There is no such version, or it does not say on which images it was trained.
    """
    if asked.cohort not in params.cohorts:
        raise DataError(
            f"{asked.model} is no model of a cohort of params.yaml; expected melanoma-<cohort> with one of "
            f"{sorted(params.cohorts)}."
        )
    version = _version(asked)
    facts = gather(asked, version)
    proposal = decide(asked, facts, params)
    _log(asked, version, facts, proposal, params.propose)
    words = f"{asked.model} version {version.version}: {IN_WORDS[proposal.kind]}"
    return [f"{words}: {', '.join(proposal.reasons)}", *proposal.commands]


def gather(asked: Asked, version: versions.Version) -> Facts:
    """Read records, labels and monitored windows; see `Facts`."""
    number = int(version.version)
    with records.opened(asked.place) as folder, tempfile.TemporaryDirectory(prefix="propose-") as scratch:
        rows = reading.read(folder, spool=records.local_spool(asked.place)).rows
        known = origin.trace(version, Path(scratch)).images["sha256"]
    given = labelling.read(asked.labels, rows)
    labelled = given.rows.merge(rows[["prediction_id", "group_key"]], on="prediction_id")
    new = labelled[~labelled["image_sha256"].isin(known)]
    groups = windows.group_of(new)
    since = _since(asked.model, version)
    return Facts(
        num_new=int(groups.nunique()),
        num_new_positive=int(groups[new["label"] == 1].nunique()),
        windows=[one for one in monitored.read(asked.model, version=number) if one.at >= since],
        test_auc=float(version.tags.get("test_auc_roc", "nan")),
        problems=given.describe(),
    )


def decide(asked: Asked, facts: Facts, params: Params) -> Proposal:
    """What a person should run, and why."""
    settings, results = params.propose, [one.result for one in facts.windows]
    alarms = [f"{words} ({_days(found)})" for found in results for words in found["alarms"]]
    reasons = [
        f"{facts.num_new} new labelled lesions ({settings.min_new_labels} needed)",
        f"{facts.num_new_positive} positive ones ({settings.min_new_positive} needed)",
        *(alarms or [f"no alarm in {len(results)} windows"]),
    ]
    broken = broken_calibration(results[-1]) if results else []
    is_sensitive = not any((found.get("sensitivity") or {}).get("is_below_minimum") for found in results)
    is_enough = (
        facts.num_new >= settings.min_new_labels and facts.num_new_positive >= settings.min_new_positive
    )
    if is_enough:
        kind = TRAIN
    elif broken and is_sensitive and _ranks_as_well(results[-1], facts.test_auc):
        kind = RECALIBRATE
        reasons.append(
            f"the AUC in use, {in_words(results[-1]['calibration'][AUC])}, is not shown to be lower"
        )
    elif alarms:
        kind = TRAIN if facts.num_new else LABEL
    else:
        kind = NOTHING
    return Proposal(kind, [*reasons, *broken], _commands(kind, asked, params))


def broken_calibration(result: Mapping[str, Any]) -> list[str]:
    """The measures of calibration in a window whose interval excludes the ideal value, in words."""
    measures = result.get("calibration") or {}
    return [
        f"{name} {in_words(measures[name])} excludes {ideal:g}"
        for name, ideal in IDEALS.items()
        if name in measures
        and None not in (low := measures[name]["low"], high := measures[name]["high"])
        and not low <= ideal <= high
    ]


def _ranks_as_well(result: Mapping[str, Any], test_auc: float) -> bool:
    """Whether the AUC in use is known and not shown to be below that on the test set."""
    high = (result["calibration"].get(AUC) or {}).get("high")
    return high is not None and high >= test_auc


def _days(result: Mapping[str, Any]) -> str:
    return f"{result['since'][:10]} to {result['until'][:10]}"


def _version(asked: Asked) -> versions.Version:
    if asked.number is not None:
        return versions.get_version(asked.model, asked.number)
    return origin.find(f"{origin.SCHEME}{asked.model}@{versions.STAGING}")


def _since(name: str, version: versions.Version) -> datetime:
    """When the version got the alias `staging`; when it was registered if the ledger does not say."""
    last = ledger.moves(name, versions.STAGING)[-1:]
    if last and last[0].version == int(version.version):
        return last[0].at
    return datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)


def _commands(kind: str, asked: Asked, params: Params) -> list[str]:
    python = ["python", "-m"]
    labels = ["--labels", *map(str, asked.labels)] if asked.labels else []
    with_records = ["--records", asked.place, *labels]
    version = [] if asked.number is None else ["--version", str(asked.number)]
    queue = [*python, "pipelines.queue", *with_records]
    source = ["--metadata", f"{SOURCE}/metadata.csv", "--images", f"{SOURCE}/images"]
    datasets = list(dict.fromkeys([*params.cohorts[asked.cohort], DATASET]))
    changes = {"run.datasets": datasets, "run.cohorts": [asked.cohort], f"cohorts.{asked.cohort}": datasets}
    settings = [word for key, names in changes.items() for word in ("-S", f"{key}=[{','.join(names)}]")]
    commands = {
        TRAIN: [
            [*queue, "--images", str(asked.images), "--labelled-out", SOURCE],
            [*python, "pipelines.fetch", DATASET, *source, "--add"],
            ["dvc", "exp", "run", *settings],
        ],
        RECALIBRATE: [
            [*python, "pipelines.recalibrate", asked.model, *version, "--clinic", asked.clinic, *with_records]
        ],
        LABEL: [[*queue, "--model", asked.model, "--out", "queue.csv"]],
        NOTHING: [],
    }
    return [shlex.join(command) for command in commands[kind]]


def _log(
    asked: Asked, version: versions.Version, facts: Facts, proposal: Proposal, settings: Propose
) -> None:
    found = {
        "model": asked.model,
        "version": str(version.version),
        **asdict(proposal),
        "num_new": facts.num_new,
        "num_new_positive": facts.num_new_positive,
        "settings": settings.model_dump(),
        "windows": [dict(one.result) for one in facts.windows],
        "test_auc_roc": None if math.isnan(facts.test_auc) else facts.test_auc,
        "label_problems": list(facts.problems),
    }
    tags = {"model": asked.model, "version": version.version, "proposal": proposal.kind}
    name = f"proposal for {asked.model} version {version.version}"
    words = "; ".join(proposal.reasons)
    note = f"{IN_WORDS[proposal.kind].capitalize()}: {words}."
    with tracking.open_run(experiment=monitored.EXPERIMENT, name=name, tags=tags, note=note) as run:
        run.log_metrics({"proposal/new": facts.num_new, "proposal/new_positive": facts.num_new_positive})
        run.log_text(_markdown(asked, version, proposal, facts), "proposal.md")
        run.log_text(json.dumps(files.as_json(found), indent=2), "proposal.json")
        ledger.add(
            asked.model,
            ledger.PROPOSAL,
            by="pipelines.propose",
            reason=f"{IN_WORDS[proposal.kind]}: {words}",
            tags=tags | {"run": run.run_id},
            evidence=files.as_json(found),
        )
    # A webhook of the registry can tell a bot of a tag, but not of a run.
    tracking.client().set_model_version_tag(asked.model, str(version.version), "proposal", proposal.kind)


def _markdown(asked: Asked, version: versions.Version, proposal: Proposal, facts: Facts) -> str:
    lines = [
        f"# {asked.model} version {version.version}: {IN_WORDS[proposal.kind]}",
        f"{NOT_A_DEVICE.capitalize()}. Nothing was run: this is a proposal for a person.",
        "\n".join(f"* {reason}" for reason in [*proposal.reasons, *facts.problems]),
    ]
    if proposal.commands:
        lines.append("```bash\n" + "\n".join(proposal.commands) + "\n```")
    return "\n\n".join(lines) + "\n"
