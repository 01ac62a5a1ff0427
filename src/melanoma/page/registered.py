"""The state of the model registry as plain values; the page knows no registry."""

from dataclasses import dataclass, field

CHALLENGER = "challenger"  # the alias of the version that was judged last; it is not served


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        number: Version number.
        aliases: Aliases that hold this version.
        registered_at: Date and time, UTC.
        gate: `passed`, `refused`, `accepted` (by a person) or `not judged`.
        model: `baseline` or `tuned`.
        test_auc: AUC on the test set, rounded.
        git_commit: Commit of the code that promoted it.
        is_synthetic: Whether it was trained on synthetic images; None where its tags do not say.
        is_current: Whether the headline is about this version.
    """

    number: int
    aliases: tuple[str, ...]
    registered_at: str
    gate: str
    model: str
    test_auc: str
    git_commit: str
    is_synthetic: bool | None
    is_current: bool


@dataclass(frozen=True)
class Holder:
    """The version that holds an alias, and the ledger's entry about it.

    Attributes:
        alias: Alias, for instance `staging`.
        number: Version that holds it now.
        since: Date and time, UTC; empty where the ledger has no such move.
        by: Who moved it.
        reason: Reason of the move.
        kind: `promote`, `accept`, `release` or `rollback`.
        warning: Disagreement of alias and ledger; otherwise empty.
    """

    alias: str
    number: int
    since: str
    by: str
    reason: str
    kind: str
    warning: str


@dataclass(frozen=True)
class Window:
    """A window that `pipelines.monitor` measured, in words; `-` where something was not measured.

    Attributes:
        version: Version that answered.
        since: First day.
        until: Day before which it ended.
        num_rows: Number of rows.
        num_refused: Number of refused rows.
        p_value: Of the test of shift.
        sensitivity: Sensitivity in use with its confidence sequence.
        calibration: Intercept and slope with their intervals.
        alarms: Alarms in words.
    """

    version: int
    since: str
    until: str
    num_rows: str
    num_refused: str
    p_value: str
    sensitivity: str
    calibration: str
    alarms: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A registered model.

    Attributes:
        name: Name, for instance `melanoma-ph2`.
        versions: Versions, newest first.
        holders: Aliases with a version.
        num_older: Number of versions that are not listed.
        windows: The last monitored windows, by their end.
    """

    name: str
    versions: list[Version]
    holders: list[Holder]
    num_older: int
    windows: list[Window] = field(default_factory=list)
