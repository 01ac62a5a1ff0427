from melanoma import tracking
from melanoma.registry import ledger, moves
from pipelines import _cli, release, rollback
from tests.pipelines import releasable
from tests.pipelines.releasable import NAME

WHY = ["--by", "A. Name", "--reason", "test"]


def release_all(*numbers):
    for number in numbers:
        assert _cli.run(release.main, [NAME, "--version", str(number), *WHY]) == 0


def run(alias="production"):
    return _cli.run(rollback.main, [NAME, "--alias", alias, *WHY])


def holder():
    return moves.holder_of(NAME, "production")


def test_each_rollback_goes_one_version_further_back_until_there_is_none(registry, capsys):
    release_all(1, 2, 3)
    assert run() == 0
    assert "production is version 2 again, version 3 before" in capsys.readouterr().out
    assert run() == 0
    assert holder() == 1
    assert run() == 1
    assert "Before version 1 nothing held the alias production" in capsys.readouterr().err
    assert holder() == 1
    assert [entry.kind for entry in ledger.moves(NAME)] == ["release"] * 3 + ["rollback"] * 2


def test_a_release_after_a_rollback_is_undone_first(registry):
    release_all(1, 2)
    assert run() == 0
    release_all(3)
    assert run() == 0
    assert holder() == 1


def test_an_alias_that_nobody_holds_is_refused(registry, capsys):
    assert run("staging") == 1
    assert "there is nothing to roll back" in capsys.readouterr().err


def test_an_alias_that_was_moved_by_other_means_is_refused(registry, capsys):
    release_all(1, 2)
    tracking.client().set_registered_model_alias(NAME, "production", "3")
    assert run() == 1
    assert "holds version 3, but the ledger says version 2" in capsys.readouterr().err
    assert holder() == 3


def test_files_that_were_tampered_with_do_not_come_back(registry, capsys):
    release_all(1, 2)
    releasable.tamper(1)
    assert run() == 1
    assert "cannot be trusted" in capsys.readouterr().err
    assert holder() == 2


def test_a_version_that_was_deleted_does_not_come_back(registry, capsys):
    release_all(1, 2)
    tracking.client().delete_model_version(NAME, "1")
    assert run() == 1
    assert "has no version 1" in capsys.readouterr().err
    assert holder() == 2
