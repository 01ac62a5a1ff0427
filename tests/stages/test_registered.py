from typing import Any

from melanoma.page.registered import Window
from melanoma.registry import ledger, versions
from melanoma.stages import registered
from tests.registry.shelf import NAME


def test_versions_and_aliases_are_told_with_who_moved_them_and_when(shelf):
    shelf.register(test_auc_roc="0.71234", git_commit="c0ffee", is_synthetic="false", model="tuned")
    shelf.register(gate="refused")
    shelf.move(1)
    versions.set_alias(NAME, versions.CHALLENGER, "2")
    model = registered.read(NAME, current=2)
    assert [(version.number, version.aliases, version.gate) for version in model.versions] == [
        (2, ("challenger",), "refused"),
        (1, ("staging",), "passed"),
    ]
    assert [version.is_current for version in model.versions] == [True, False]
    assert (model.versions[1].test_auc, model.versions[1].is_synthetic) == ("0.712", False)
    challenger, staging = model.holders
    assert (staging.number, staging.by, staging.reason, staging.kind) == (
        1,
        "A. Name",
        "tried by hand",
        "promote",
    )
    assert staging.since == registered.in_words(ledger.moves(NAME, versions.STAGING)[-1].at)
    assert (challenger.number, challenger.by, challenger.warning) == (2, registered.NOT_ENTERED, "")


def test_an_alias_that_was_moved_by_other_means_is_warned_of(shelf):
    shelf.move(shelf.register())
    versions.set_alias(NAME, versions.STAGING, str(shelf.register()))
    (staging,) = registered.read(NAME, current=None).holders
    assert staging.warning == "staging points to version 2, but the last entry of the ledger is version 1"
    assert staging.by == registered.NOT_ENTERED


def test_many_versions_are_cut_but_those_with_an_alias_are_kept(shelf, monkeypatch):
    monkeypatch.setattr(registered, "NUM_SHOWN", 2)
    for _ in range(4):
        shelf.register()
    shelf.move(1)
    model = registered.read(NAME, current=4)
    assert [version.number for version in model.versions] == [4, 3, 1]
    assert model.num_older == 1


WINDOW: dict[str, Any] = {
    "version": "1",
    "rows": {"num_rows": 120, "num_refused": 3},
    "shift": {"p_value": 0.4},
    "sensitivity": None,
    "calibration": None,
    "alarms": [],
}


def enter(month, **changes):
    """An entry as `pipelines.monitor` writes it, with its JSON file as evidence."""
    found = WINDOW | {"since": f"2026-{month:02}-01", "until": f"2026-{month + 1:02}-01"} | changes
    tags = {name: found[name] for name in ("version", "since", "until")}
    tags["is_alarm"] = str(bool(found["alarms"])).lower()
    return ledger.add(
        NAME, ledger.MONITOR, by="m", reason="; ".join(found["alarms"]), tags=tags, evidence=found
    )


def test_monitored_windows_are_told_in_the_order_of_their_ends(shelf):
    shelf.move(shelf.register())
    enter(6, alarms=["shifted"], shift={"p_value": 0.001})
    sensitivity = {"estimate": 0.9, "low": 0.8, "high": 0.95}
    entry = {"value": 0.1, "low": -0.2, "high": 0.4}
    measures = {"calibration_intercept": entry, "calibration_slope": entry | {"value": None}}
    enter(5, sensitivity=sensitivity, calibration=measures)
    first, second = registered.read(NAME, current=1).windows
    assert first == Window(
        version=1,
        since="2026-05-01",
        until="2026-06-01",
        num_rows="120",
        num_refused="3",
        p_value="0.400",
        sensitivity="0.900 (0.800 to 0.950)",
        calibration="intercept 0.100 (-0.200 to 0.400), slope undefined",
        alarms=(),
    )
    assert (second.since, second.p_value, second.alarms) == ("2026-06-01", "0.001", ("shifted",))
    assert (second.sensitivity, second.calibration) == ("-", "-")


def test_the_last_windows_are_shown_and_a_repeated_one_once(shelf, monkeypatch):
    monkeypatch.setattr(registered, "NUM_WINDOWS", 2)
    shelf.move(shelf.register())
    for month in (4, 5, 6, 5):
        enter(month)
    enter(6, alarms=["shifted"])
    windows = registered.read(NAME, current=1).windows
    assert [(one.since[:7], one.alarms) for one in windows] == [("2026-05", ()), ("2026-06", ("shifted",))]


def test_a_model_that_is_not_registered_is_none(shelf):
    assert registered.read(NAME, current=1) is None
