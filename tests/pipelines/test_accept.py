import pytest

from melanoma import tracking
from melanoma.registry import acceptance, anchors, ledger, moves, versions
from melanoma.stages.accept import CARD
from pipelines import _cli, accept, release
from tests.registry.shelf import NAME

COHORT = NAME.removeprefix("melanoma-")
REASON = "not shown to be better than colours"
NOT_SHOWN = {"words": REASON, "is_judged": True, "is_passed": False}


def run(*options: str, cohort: str = COHORT, by: str = "A. Name", reason: str = "few images") -> int:
    return _cli.run(accept.main, ["--cohort", cohort, "--by", by, "--reason", reason, *options])


def staging() -> int | None:
    return moves.holder_of(NAME, versions.STAGING)


@pytest.fixture
def refuse(shelf):
    """Registers a version that the gates refuse, as `promote` does; its number."""

    def run(*, is_acceptable: bool = True, **tags: str) -> int:
        holder = staging()
        number = shelf.register(
            **{"gate": "refused", versions.PREVIOUS_TAG: "" if holder is None else str(holder)} | tags
        )
        versions.set_alias(NAME, versions.CHALLENGER, str(number))
        version = versions.get_version(NAME, number)
        tracking.client().log_text(version.tags["run_id"], "# The card\n\nof a model\n", CARD)
        gates = [NOT_SHOWN | {"is_acceptable": is_acceptable}]
        ledger.add(
            NAME,
            ledger.REFUSAL,
            by="pipelines.promote",
            reason=REASON,
            tags={"alias": versions.STAGING, "version": number}
            | anchors.find(NAME, holder, "t").tags(number, is_better=False)
            | acceptance.tags({"gates": gates}),
            evidence={},
        )
        return number

    return run


@pytest.fixture
def refusal(capsys):
    """Tries an acceptance that must be refused; what was said. Nothing may have moved or been entered."""

    def try_it(*options: str, **others: str) -> str:
        before = staging(), len(ledger.entries(NAME))
        capsys.readouterr()
        assert run(*options, **others) == 1
        assert (staging(), len(ledger.entries(NAME))) == before
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return try_it


def test_the_version_judged_last_takes_the_alias_and_it_is_entered_who_accepted_it_and_why(refuse, capsys):
    assert run("--version", str(refuse())) == 0
    number = refuse()
    assert run(by=" B. Name ", reason=" a pilot ") == 0
    said = capsys.readouterr().out
    assert f"staging is version {number} now, version 1 before" in said
    assert "not shown to be better than colours" in said
    entry = ledger.moves(NAME, versions.STAGING)[-1]
    assert (entry.kind, entry.version, entry.previous) == (ledger.ACCEPT, number, 1)
    assert (entry.tags["by"], entry.tags["reason"]) == ("B. Name", "a pilot")
    assert entry.tags[anchors.VERSION_TAG] == "1"  # an acceptance moves no anchor


def test_card_and_version_say_who_accepted_it_and_it_can_be_released(refuse, capsys):
    number = refuse()
    assert _cli.run(release.main, [NAME, "--version", "1", "--by", "A", "--reason", "b"]) == 1
    assert "or that a person accepted" in capsys.readouterr().err
    assert run() == 0
    version = versions.get_version(NAME, number)
    assert version.tags["gate"] == "accepted"
    card = f"# The card\n\n**Accepted by A. Name on {ledger.moves(NAME)[-1].at:%Y-%m-%d %H:%M} UTC"
    assert version.description.startswith(card)
    assert "because: few images.**\n\nof a model" in version.description
    assert tracking.client().get_run(version.tags["run_id"]).data.tags["gate"] == "accepted"
    assert _cli.run(release.main, [NAME, "--version", "1", "--by", "A", "--reason", "b"]) == 0


def test_what_was_found_about_the_version_itself_is_accepted_by_nobody(refuse, refusal):
    refuse(is_acceptable=False)
    said = refusal()
    assert "was refused for reasons that cannot be accepted: not shown to be better than colours" in said
    assert "Nothing was moved" in said
    refuse()
    assert run() == 0


def test_a_version_that_holds_the_alias_or_passed_or_was_not_judged_is_nothing_to_accept(
    refuse, refusal, shelf
):
    refuse()
    assert run() == 0
    assert "version 1 already has the alias staging" in refusal("--version", "1")
    passed, unknown = shelf.register(), shelf.register(gate=None)
    assert "passed the gates, so there is nothing to accept" in refusal("--version", str(passed))
    assert "was not judged by the gates" in refusal("--version", str(unknown))


def test_a_version_that_was_compared_with_another_champion_is_judged_again_first(refuse, refusal, shelf):
    number = refuse()
    shelf.move(shelf.register())
    assert "was compared with version none, but the alias staging points to version 2" in refusal(
        "--version", str(number)
    )
    again = refuse()
    assert run() == 0
    assert staging() == again


def test_a_refusal_of_an_earlier_version_of_the_code_is_judged_again_first(shelf, refusal):
    number = shelf.register(gate="refused")
    tags = {"alias": versions.STAGING, "version": number}
    ledger.add(NAME, ledger.REFUSAL, by="pipelines.promote", reason="AUC", tags=tags, evidence={})
    assert "by an earlier version of the code; run `dvc repro --force promote`" in refusal("--version", "1")


def test_an_unknown_version_or_cohort_is_refused(refuse, refusal):
    refuse()
    assert f"{NAME} has no version 7; it has [1]" in refusal("--version", "7")
    assert "No version of melanoma-none was judged" in refusal(cohort="none")


def test_a_version_whose_files_were_changed_is_not_accepted(refuse, refusal, shelf):
    number = refuse()
    path = shelf.artifact(number, "model.onnx")
    whole = path.read_text()
    path.write_text("changed")
    assert "cannot be trusted: model.onnx" in refusal()
    path.write_text(whole)
    assert run() == 0


@pytest.mark.parametrize("blank", ["by", "reason"])
def test_nobody_accepts_without_a_name_and_a_reason(refuse, capsys, blank):
    refuse()
    with pytest.raises(SystemExit, match="2"):
        run(**{blank: "  "})
    assert f"argument --{blank}: must not be blank" in capsys.readouterr().err
    assert staging() is None


def test_a_refusal_to_recalibrate_for_a_clinic_is_another_matter(refuse):
    number = refuse()
    tags = {"alias": "staging-north", "version": number}
    ledger.add(NAME, ledger.REFUSAL, by="pipelines.recalibrate", reason="no help", tags=tags, evidence={})
    assert run() == 0
    assert staging() == number
