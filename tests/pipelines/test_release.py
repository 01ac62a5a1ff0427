import pytest

from melanoma.registry import ledger, moves
from pipelines import _cli, release
from tests.pipelines import releasable
from tests.pipelines.releasable import NAME


def run(version, *, by="A. Name", reason="better", name=NAME):
    return _cli.run(release.main, [name, "--version", str(version), "--by", by, "--reason", reason])


def holder():
    return moves.holder_of(NAME, "production")


def test_a_version_that_passed_becomes_production_and_the_ledger_says_by_whom_and_why(registry, capsys):
    assert run(1) == 0
    assert run(2) == 0
    assert "production is version 2 now, version 1 before" in capsys.readouterr().out
    assert holder() == 2
    entries = ledger.moves(NAME, "production")
    assert [(entry.previous, entry.version) for entry in entries] == [(None, 1), (1, 2)]
    assert (entries[0].tags["by"], entries[0].tags["reason"]) == ("A. Name", "better")


def test_a_version_that_is_production_already_is_told_and_not_entered(registry, capsys):
    assert run(1) == run(1) == 0
    assert "holds the alias production already" in capsys.readouterr().out
    assert len(ledger.moves(NAME)) == 1


def test_what_is_unknown_is_refused_with_what_there_is(registry, capsys):
    assert run(9) == 1
    assert "has no version 9; it has [1, 2, 3]" in capsys.readouterr().err
    assert run(1, name="melanoma-none") == 1
    assert "there is no such registered model" in capsys.readouterr().err


def test_a_version_that_the_gates_refused_is_refused_with_their_reasons(registry, capsys):
    assert run(1) == 0
    releasable.refuse(2)
    assert run(2) == 1
    assert "was refused by the gates: worse than colour" in capsys.readouterr().err
    assert holder() == 1


@pytest.mark.parametrize(
    ("damage", "message"), [(releasable.tamper, "cannot be trusted"), (releasable.lose, "no such file")]
)
def test_files_that_are_not_those_that_passed_are_refused_and_nothing_moves(
    registry, capsys, damage, message
):
    assert run(1) == 0
    damage(2)
    assert run(2) == 1
    assert message in capsys.readouterr().err
    assert holder() == 1
    assert len(ledger.entries(NAME)) == 1


@pytest.mark.parametrize("blank", [{"by": " "}, {"reason": ""}])
def test_a_release_without_a_name_or_a_reason_is_refused(blank, capsys):
    with pytest.raises(SystemExit) as ended:
        run(1, **blank)
    assert ended.value.code == 2
    assert "must not be blank" in capsys.readouterr().err
