"""What the script `page` reads of the registry: versions and aliases of a model, and who moved them."""

from datetime import UTC, datetime

from melanoma.page import registered
from melanoma.registry import ledger, versions
from melanoma.tracking import client

SHOWN_VERSIONS = 20  # the newest, and all that hold an alias
NOT_ENTERED = "not entered in the ledger"
OF_THE_LEDGER = (versions.STAGING, versions.PRODUCTION)  # `challenger` moves with every promotion


def read(name: str, *, current: int | None) -> registered.Model | None:
    """A registered model as it stands now, or None where the store has none of this name.

    Args:
        name: Of the registered model.
        current: The version that the results are about.
    """
    store = client()
    found = store.search_registered_models(f"name = '{name}'")
    if not found:
        return None
    holding = {alias: int(number) for alias, number in found[0].aliases.items()}
    every = sorted(
        store.search_model_versions(f"name = '{name}'"),
        key=lambda version: int(version.version),
        reverse=True,
    )
    shown = [
        version
        for at, version in enumerate(every)
        if at < SHOWN_VERSIONS or int(version.version) in holding.values()
    ]
    return registered.Model(
        name=name,
        versions=[_version(version, holding, current) for version in shown],
        holders=[_holder(name, alias, number) for alias, number in sorted(holding.items())],
        num_older=len(every) - len(shown),
    )


def _version(version: versions.Version, holding: dict[str, int], current: int | None) -> registered.Version:
    tags, number = version.tags, int(version.version)
    synthetic = tags.get("is_synthetic")
    return registered.Version(
        number=number,
        aliases=tuple(sorted(alias for alias, held in holding.items() if held == number)),
        registered_at=in_words(datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)),
        gate=tags.get("gate", "not judged"),
        model=tags.get("model", ""),
        test_auc=_rounded(tags.get("test_auc_roc", "")),
        git_commit=tags.get("git_commit", "unknown"),
        is_synthetic=None if synthetic is None else synthetic == "true",
        is_current=number == current,
    )


def _holder(name: str, alias: str, number: int) -> registered.Holder:
    """The last move of an alias, when it is the one that the alias shows."""
    done = ledger.moves(name, alias)
    last = done[-1] if done else None
    if last is not None and last.version == number:
        return registered.Holder(
            alias, number, in_words(last.at), last.tags["by"], last.tags["reason"], last.kind, ""
        )
    warning = ""
    if alias in OF_THE_LEDGER:
        said = "nothing" if last is None else f"version {last.version}"
        warning = f"{alias} holds version {number}, but the ledger's last entry says {said}"
    return registered.Holder(alias, number, "", NOT_ENTERED, "", "", warning)


def in_words(at: datetime) -> str:
    """`2026-11-25 13:40 UTC`."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _rounded(text: str) -> str:
    try:
        return f"{float(text):.3f}"
    except ValueError:
        return text
