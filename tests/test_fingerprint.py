import hashlib
import shutil
from pathlib import Path

import pytest

import melanoma
from melanoma import fingerprint
from tests.imports import FOLDER_OF_PACKAGE, files_behind

PACKAGE = FOLDER_OF_PACKAGE["melanoma"]


@pytest.fixture
def model(tmp_path):
    """An MLflow model folder as far as digests are concerned."""
    folder = tmp_path / "model"
    for name in ("MLmodel", "artifacts/model.onnx", "code/melanoma/schema.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    return folder


def test_every_module_that_the_scorer_imports_is_part_of_the_digest_of_the_code():
    deciding = {PACKAGE / name for name in fingerprint.DECIDING_MODULES}
    deciding |= {path for name in fingerprint.DECIDING_FOLDERS for path in (PACKAGE / name).glob("*.py")}
    needed = files_behind(PACKAGE / "serving" / "model_code.py")
    needed |= files_behind(PACKAGE / "serving" / "own_process_main.py")
    assert needed <= deciding


@pytest.mark.parametrize("module", ["serving/scorer.py", "scoring/operating_point.py", "data/images.py"])
def test_a_changed_line_of_a_deciding_module_gives_another_digest(tmp_path, module):
    copy = shutil.copytree(PACKAGE, tmp_path / "melanoma")
    assert fingerprint.digest_of_code(copy) == fingerprint.digest_of_code()
    with (copy / module).open("a") as stream:
        stream.write("ANOTHER = 1\n")
    assert fingerprint.digest_of_code(copy) != fingerprint.digest_of_code()


def test_a_module_that_decides_nothing_leaves_the_digest_of_the_code(tmp_path):
    copy = shutil.copytree(PACKAGE, tmp_path / "melanoma")
    shutil.rmtree(copy / "page")
    assert fingerprint.digest_of_code(copy) == fingerprint.digest_of_code()


def test_a_changed_comment_leaves_the_digest_of_the_code(tmp_path):
    copy = shutil.copytree(PACKAGE, tmp_path / "melanoma")
    with (copy / "serving" / "scorer.py").open("a") as stream:
        stream.write("# only a comment\n")
    assert fingerprint.digest_of_code(copy) == fingerprint.digest_of_code()


SOURCE = '''"""A module."""

import math


class Circle:
    """A circle."""

    PI = 3  # roughly

    def area(self, radius: float = 1.0) -> float:
        return self.PI * radius**2
'''


def syntax_digest(tmp_path, source):
    (tmp_path / "module.py").write_text(source)
    return fingerprint.syntax_digest(tmp_path / "module.py")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', ""),
        ('"""A circle."""', '"""A circle around the origin."""'),
        ("  # roughly", ""),
        ("self.PI * radius**2", "(\n            self.PI * radius ** 2\n        )"),
        ("radius: float = 1.0", "radius: float = 1.00"),
    ],
)
def test_docstrings_comments_and_layout_are_no_syntax(tmp_path, old, new):
    assert old in SOURCE
    changed = syntax_digest(tmp_path, SOURCE.replace(old, new))
    assert changed == syntax_digest(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("PI = 3", "PI = 3.0"),
        ("PI = 3", "PI = '3'"),
        ("PI = 3", "PI: int = 3"),
        ("self.PI *", "self.PI +"),
        ("area", "surface"),
        ("= 1.0)", "= None)"),
        ("self, radius", "self, *, radius"),
        ("return self", "'a'\n        yield self"),
        ("import math", "import cmath"),
    ],
)
def test_all_that_a_module_does_is_syntax(tmp_path, old, new):
    assert old in SOURCE
    changed = syntax_digest(tmp_path, SOURCE.replace(old, new))
    assert changed != syntax_digest(tmp_path, SOURCE)


def test_a_digest_of_syntax_is_the_same_for_each_python(tmp_path):
    """Python 3.12 and 3.13 have other empty fields; this value was taken with 3.11."""
    assert syntax_digest(tmp_path, SOURCE)[:16] == "16ed6b5dd0aefba3"


def test_what_this_python_cannot_parse_is_digested_by_its_bytes(tmp_path):
    assert syntax_digest(tmp_path, "match = = 1") == hashlib.sha256(b"match = = 1").hexdigest()


def test_the_code_of_this_process_is_digested_by_default():
    assert fingerprint.digest_of_code() == fingerprint.digest_of_code(Path(melanoma.__file__).parent)


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # the example of FIPS 180
    assert fingerprint.sha256_of_file(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_any_changed_added_removed_or_renamed_file_gives_another_digest_of_the_files(model):
    whole = fingerprint.digest_of_files(model)
    network = model / "artifacts" / "model.onnx"
    network.write_text("changed")
    changed = fingerprint.digest_of_files(model)
    network.rename(network.with_name("other.onnx"))
    renamed = fingerprint.digest_of_files(model)
    network.with_name("other.onnx").unlink()
    removed = fingerprint.digest_of_files(model)
    (model / "code" / "sitecustomize.py").write_text("")
    added = fingerprint.digest_of_files(model)
    assert len({whole, changed, renamed, removed, added}) == 5


def test_what_mlflow_and_python_write_at_each_load_leaves_the_digest_of_the_files(model):
    whole = fingerprint.digest_of_files(model)
    (model / fingerprint.REGISTERED_META).write_text("model_version: 3")
    bytecode = model / "code" / "melanoma" / fingerprint.BYTECODE
    bytecode.mkdir()
    (bytecode / "schema.cpython-311.pyc").write_bytes(b"compiled")
    assert fingerprint.digest_of_files(model) == whole


def test_a_file_of_that_name_in_another_folder_counts(model):
    whole = fingerprint.digest_of_files(model)
    (model / "code" / fingerprint.REGISTERED_META).write_text("model_version: 3")
    assert fingerprint.digest_of_files(model) != whole
