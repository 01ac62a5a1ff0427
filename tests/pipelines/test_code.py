import json

import pytest

from pipelines import _cli, code
from tests.imports import ROOT


@pytest.fixture
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_digests_of_this_checkout_are_written_and_explained(in_the_checkout, tmp_path, capsys):
    out = tmp_path / "code.json"
    assert _cli.run(code.main, ["--out", str(out)]) == 0
    assert len(json.loads(out.read_text())["train"]) == 64
    capsys.readouterr()
    assert _cli.run(code.main, ["--out", str(out), "--explain", "validate"]) == 0
    shown = capsys.readouterr().out
    assert "  pipelines.validate\n" in shown
    assert "  great-expectations==" in shown
    assert "*" not in shown  # nothing changed meanwhile


def test_an_unknown_stage_is_refused_with_the_known_ones(in_the_checkout, capsys):
    assert _cli.run(code.main, ["--explain", "trian"]) == 1
    assert "unknown stage trian; expected one of sample, ingest" in capsys.readouterr().err
