"""What the model registry held when the page was drawn, as plain values: the page knows no registry."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        number: Of the version.
        aliases: That lead to it.
        registered_at: In words, UTC.
        gate: `passed`, `refused` or `not judged`.
        model: `baseline` or `tuned`.
        test_auc: In words.
        git_commit: Of the code that it was promoted with.
        is_synthetic: Whether it was trained on synthetic images; None where its tags do not say.
        is_current: Whether it is the one that the headline is about.
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
    """Who holds an alias, and what the ledger says of how that came.

    Attributes:
        alias: For instance `staging`.
        number: Of the version that holds it now.
        since: In words, UTC; empty where the ledger has no such move.
        by: Who moved it there.
        reason: In words.
        kind: `promote`, `release` or `rollback`.
        warning: That alias and ledger disagree; otherwise empty.
    """

    alias: str
    number: int
    since: str
    by: str
    reason: str
    kind: str
    warning: str


@dataclass(frozen=True)
class Model:
    """A registered model.

    Attributes:
        name: For instance `melanoma-ph2`.
        versions: The newest first.
        holders: By alias; an alias that no version holds is not among them.
        num_older: Versions that are not listed.
    """

    name: str
    versions: list[Version]
    holders: list[Holder]
    num_older: int
