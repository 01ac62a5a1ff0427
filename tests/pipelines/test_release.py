import pytest

from melanoma.registry import ledger, moves, versions
from pipelines import _cli, release
from tests.registry.shelf import NAME


def run(number, *, name=NAME, by="A. Name", reason="wanted") -> int:
    return _cli.run(release.main, [name, "--version", str(number), "--by", by, "--reason", reason])


def production() -> int | None:
    return moves.holder_of(NAME, versions.PRODUCTION)


@pytest.fixture
def refusal(shelf, capsys):
    """Tries a release that must be refused; what was said. Nothing may have moved or been entered."""

    def try_it(number, **options):
        before = production(), len(ledger.entries(NAME))
        capsys.readouterr()
        assert run(number, **options) == 1
        assert (production(), len(ledger.entries(NAME))) == before
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return try_it


def test_a_version_that_passed_becomes_production_and_it_is_entered_who_did_it_and_why(shelf, capsys):
    first, second = shelf.register(), shelf.register()
    assert run(first) == 0
    assert f"production is version {first} now, nothing before" in capsys.readouterr().out
    assert run(second, by=" B. Name ", reason=" better ") == 0
    assert f"production is version {second} now, version {first} before" in capsys.readouterr().out
    assert production() == second
    entry = ledger.moves(NAME, versions.PRODUCTION)[-1]
    assert (entry.kind, entry.version, entry.previous) == (ledger.RELEASE, second, first)
    assert (entry.tags["by"], entry.tags["reason"]) == ("B. Name", "better")


def test_a_version_that_is_released_already_is_no_new_entry(shelf, capsys):
    number = shelf.register()
    assert run(number) == 0
    assert run(number) == 0
    assert f"version {number} already has the alias production" in capsys.readouterr().out
    assert len(ledger.entries(NAME)) == 1


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"gate": None}, "was not judged by the gates; run `dvc repro promote`"),
        ({"gate": "refused", "gate_reasons": "AUC too low"}, "was refused by the gates: AUC too low"),
        ({"gate": "perhaps"}, "has the verdict 'perhaps'"),
    ],
)
def test_a_version_that_did_not_pass_is_refused(shelf, refusal, tags, words):
    shelf.register()
    assert run(1) == 0
    assert f"version {shelf.register(**tags)} {words}" in refusal(2)


@pytest.mark.parametrize("file", ["model.onnx", "settings.json"])
def test_a_version_whose_files_are_not_those_that_passed_is_refused(shelf, refusal, file):
    number = shelf.register()
    path = shelf.artifact(number, file)
    whole = path.read_text()
    path.write_text("changed")
    assert f"cannot be trusted: {file}" in refusal(number)
    path.write_text(whole)
    assert run(number) == 0


def test_a_version_whose_files_are_gone_is_refused(shelf, refusal):
    number = shelf.register()
    shelf.artifact(number, "model.onnx").unlink()
    assert "model.onnx has the sha256 no such file" in refusal(number)


def test_an_unknown_version_or_model_is_refused_with_what_there_is(shelf, refusal):
    shelf.register()
    assert f"{NAME} has no version 7; it has [1]" in refusal(7)
    assert "there is no such registered model" in refusal(1, name="melanoma-none")


@pytest.mark.parametrize("blank", ["by", "reason"])
def test_nobody_releases_without_a_name_and_a_reason(shelf, capsys, blank):
    shelf.register()
    for text in ("", "  "):
        with pytest.raises(SystemExit, match="2"):
            run(1, **{blank: text})
        assert f"argument --{blank}: must not be blank" in capsys.readouterr().err
    assert production() is None


def test_a_registry_that_is_down_is_named(shelf, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert run(1) == 1
    error = capsys.readouterr().err
    assert "The tracking store http://127.0.0.1:9 does not answer" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["", "it's", "melanoma/ph2"])
def test_what_cannot_name_a_model_is_refused(shelf, capsys, name):
    with pytest.raises(SystemExit, match="2"):
        run(1, name=name)
    assert "is not a valid name of a registered model" in capsys.readouterr().err


def test_a_version_of_a_clinic_is_not_for_all(shelf, refusal):
    of_clinic, for_all = shelf.register(clinic="north"), shelf.register()
    said = refusal(of_clinic)
    assert "was recalibrated for the clinic north" in said
    assert f"models:/{NAME}@staging-north" in said
    assert run(for_all) == 0
