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


def test_a_model_that_is_not_registered_is_none(shelf):
    assert registered.read(NAME, current=1) is None
