import pytest

from melanoma import files
from melanoma.stages import data_check


@pytest.fixture
def raw(tmp_path):
    """A dataset of three files, its manifest beside it."""
    folder = tmp_path / "toy"
    for name, content in {"images/a.jpg": "a", "images/b.jpg": "bb", "table.csv": "c"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    files.write_csv(data_check.manifest(folder), tmp_path / "toy.csv")
    return folder


def compare(raw) -> data_check.Difference:
    return data_check.compare(raw, raw.with_suffix(".csv"))


def test_a_manifest_names_path_size_and_digest_of_each_file(raw):
    found = data_check.manifest(raw)
    assert list(found["path"]) == ["images/a.jpg", "images/b.jpg", "table.csv"]
    assert list(found["bytes"]) == [1, 2, 1]
    assert found["sha256"][0] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


def test_the_same_files_are_equal(raw):
    assert compare(raw).is_equal
    assert str(compare(raw)) == "identical, 3 files"


def test_a_changed_a_missing_and_an_extra_file_are_named(raw):
    (raw / "images/a.jpg").write_text("x")  # as many bytes as before
    (raw / "images/b.jpg").unlink()
    (raw / "new.txt").write_text("")
    found = compare(raw)
    assert (found.changed, found.missing, found.extra) == (["images/a.jpg"], ["images/b.jpg"], ["new.txt"])
    assert str(found) == "1 changed (images/a.jpg); 1 missing (images/b.jpg); 1 extra (new.txt)"
