"""Reads the registry for the page: versions and aliases of a model, and who moved the aliases."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from melanoma.evaluation.bootstrap import in_words as value_in_words
from melanoma.evaluation.bootstrap import number_in_words
from melanoma.evaluation.calibration_measures import INTERCEPT, SLOPE
from melanoma.page.registered import Holder, Model, Version, Window
from melanoma.registry import ledger, versions
from melanoma.stages import monitored
from melanoma.tracking import client

NUM_SHOWN = 20  # newest versions; those with an alias are always shown
NUM_WINDOWS = 6  # monitored windows that are shown, the latest
NOT_ENTERED = "not in the ledger"


def read(name: str, *, current: int | None) -> Model | None:
    """A registered model as it is now, or None where the store has none of this name.

    Args:
        name: Name of the registered model.
        current: Version that the results are about.
    """
    store = client()
    found = store.search_registered_models(f"name = '{name}'")
    if not found:
        return None
    aliases = {alias: int(number) for alias, number in found[0].aliases.items()}
    every = sorted(
        store.search_model_versions(f"name = '{name}'"),
        key=lambda version: int(version.version),
        reverse=True,
    )
    shown = [
        version
        for at, version in enumerate(every)
        if at < NUM_SHOWN or int(version.version) in aliases.values()
    ]
    return Model(
        name=name,
        versions=[_version(version, aliases, current) for version in shown],
        holders=[_holder(name, alias, number) for alias, number in sorted(aliases.items())],
        num_older=len(every) - len(shown),
        windows=[_window(found.result) for found in _windows(name, set(aliases.values()))],
    )


def _windows(name: str, served: set[int]) -> list[monitored.Window]:
    """The latest windows of a model, and the last one of each version that holds an alias."""
    latest = monitored.read(name, limit=NUM_WINDOWS)
    last = [one for number in sorted(served) for one in monitored.read(name, version=number, limit=1)]
    return [*(one for one in last if one not in latest), *latest]


def _version(version: versions.Version, aliases: dict[str, int], current: int | None) -> Version:
    tags, number = version.tags, int(version.version)
    synthetic = tags.get("is_synthetic")
    return Version(
        number=number,
        aliases=tuple(sorted(alias for alias, held in aliases.items() if held == number)),
        registered_at=in_words(datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)),
        gate=tags.get("gate", "not judged"),
        model=tags.get("model", ""),
        test_auc=_rounded(tags.get("test_auc_roc", "")),
        git_commit=tags.get("git_commit", "unknown"),
        is_synthetic=None if synthetic is None else synthetic == "true",
        is_current=number == current,
    )


def _holder(name: str, alias: str, number: int) -> Holder:
    """The last move of an alias, when it led to the version that the alias holds."""
    moves = ledger.moves(name, alias)
    last = moves[-1] if moves else None
    if last is not None and last.version == number:
        return Holder(alias, number, in_words(last.at), last.tags["by"], last.tags["reason"], last.kind, "")
    warning = ""
    if alias == versions.PRODUCTION or versions.is_staging(alias):  # the ledger does not keep `challenger`
        entry = "nothing" if last is None else f"version {last.version}"
        warning = f"{alias} points to version {number}, but the last entry of the ledger is {entry}"
    return Holder(alias, number, "", NOT_ENTERED, "", "", warning)


def _window(result: Mapping[str, Any]) -> Window:
    rows, shift = result.get("rows") or {}, result.get("shift") or {}
    sensitivity, measures = result.get("sensitivity"), result.get("calibration")
    return Window(
        version=int(result["version"]),
        since=result["since"][:10],
        until=result["until"][:10],
        num_rows=str(rows.get("num_rows", "-")),
        num_refused=str(rows.get("num_refused", "-")),
        p_value=number_in_words(shift.get("p_value")),
        sensitivity=value_in_words(sensitivity | {"value": sensitivity["estimate"]}) if sensitivity else "-",
        calibration=", ".join(
            f"{word} {value_in_words(measures[name])}"
            for word, name in (("intercept", INTERCEPT), ("slope", SLOPE))
        )
        if measures
        else "-",
        alarms=tuple(result["alarms"]),
    )


def in_words(at: datetime) -> str:
    """`2026-11-25 13:40 UTC`."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _rounded(text: str) -> str:
    try:
        return f"{float(text):.3f}"
    except ValueError:
        return text
