import pytest

from melanoma import files
from melanoma.stages.data_check import manifest
from pipelines import _cli, data_check


@pytest.fixture
def raw(tmp_path):
    """A folder with one dataset of one file, its manifest beside it."""
    folder = tmp_path / "raw"
    (folder / "toy").mkdir(parents=True)
    (folder / "toy/a.jpg").write_text("a")
    files.write_csv(manifest(folder / "toy"), tmp_path / "manifests/toy.csv")
    return folder


def run(raw, *more: str) -> int:
    return _cli.run(data_check.main, ["--raw", str(raw), "--manifests", str(raw.parent / "manifests"), *more])


def test_equal_data_end_with_0_and_changed_data_with_1(raw, capsys):
    assert run(raw) == 0
    assert capsys.readouterr().out == "[data_check] toy: identical, 1 files\n"
    (raw / "toy/a.jpg").write_text("b")
    assert run(raw) == 1
    assert capsys.readouterr().out == "[data_check] toy: 1 changed (a.jpg)\n"


def test_a_dataset_that_is_not_here_is_said_so_with_how_to_import_it(raw, capsys):
    raw.rename(raw.with_name("other"))
    assert run(raw) == 1
    assert (
        "toy: missing. Import it first, see `python -m pipelines.fetch toy --help`" in capsys.readouterr().out
    )


def test_a_dataset_without_a_manifest_is_refused(raw, capsys):
    assert run(raw, "--dataset", "ph2") == 1
    assert "has no manifest of ph2; found ['toy']" in capsys.readouterr().err
    assert run(raw, "--dataset", "toy") == 0
