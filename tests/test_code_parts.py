import pytest

from melanoma.errors import ConfigError
from tests import toy_code


@pytest.fixture
def project(tmp_path):
    return toy_code.write(tmp_path)


def closure(project, *names):
    return toy_code.parts(project).closure(names)


def test_a_script_is_made_of_all_that_it_imports_inside_functions_too(project):
    assert set(closure(project, "pipelines.train")) == {
        "pipelines",
        "pipelines.train",
        "melanoma.fit",
        "melanoma.config.sections:Space",
        "melanoma.config.types:Section",
        "melanoma.config.types:Fraction",
        "numpy==",
        "tensorflow==",
    }


def test_modules_data_and_programs_that_strings_name_are_followed(project):
    found = set(closure(project, "melanoma.page.write"))
    assert found == {
        "melanoma.page.write",
        "melanoma/page/templates/page.css",
        "melanoma.page.child_main",
        "melanoma.page.paper",
        "melanoma/page/paper.yaml",
        "melanoma.page.worker",
    }


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("src/melanoma/fit.py", "# three", "# 3, as in the paper"),
        ("src/melanoma/fit.py", '"""Fit."""', '"""Fit once.\n\n    Returns:\n        Weights.\n    """'),
        ("src/melanoma/fit.py", "np.ones(3) * rate", "(\n        np.ones(3)\n        * rate\n    )"),
        ("src/melanoma/gates.py", "GATES = 2", "GATES = 3"),  # imported for types only
        ("src/melanoma/config/sections.py", "bound: Fraction", "bound: float"),
        ("src/melanoma/config/params.py", "return Params(path)", "return Params(str(path))"),
        ("src/melanoma/page/README.md", "holds", "holds today"),
        ("requirements.lock", "sha256:00", "sha256:99"),
        ("requirements.lock", "matplotlib==3.11.2", "matplotlib==3.12.0"),
    ],
)
def test_what_changes_no_result_leaves_all_digests(project, name, old, new):
    before = closure(project, "pipelines.train")
    toy_code.change(project, name, old, new)
    assert closure(project, "pipelines.train") == before


@pytest.mark.parametrize(
    ("name", "old", "new", "part"),
    [
        ("src/melanoma/fit.py", "np.ones(3)", "np.ones(4)", "melanoma.fit"),
        ("pipelines/__init__.py", "import os", "import sys", "pipelines"),
        ("src/melanoma/config/sections.py", "low: Fraction", "low: int", "melanoma.config.sections:Space"),
        (
            "src/melanoma/config/types.py",
            "Fraction = float",
            "Fraction = int",
            "melanoma.config.types:Fraction",
        ),
        ("requirements.lock", "tensorflow==2.21.0", "tensorflow==2.22.0", "tensorflow=="),
        ("requirements.lock", "numpy==2.5.5", "numpy==2.5.6", "numpy=="),
    ],
)
def test_what_may_change_a_result_changes_the_digest_of_its_part(project, name, old, new, part):
    before = closure(project, "pipelines.train")
    toy_code.change(project, name, old, new)
    after = closure(project, "pipelines.train")
    assert {key for key in before | after if before.get(key) != after.get(key)} >= {part}


def test_data_files_count_by_their_bytes(project):
    before = closure(project, "melanoma.page.write")
    toy_code.change(project, "src/melanoma/page/templates/page.css", "{}", "{color: red}")
    after = closure(project, "melanoma.page.write")
    assert {key for key in before if before[key] != after[key]} == {"melanoma/page/templates/page.css"}


def test_bytecode_is_no_data(project):
    before = closure(project, "melanoma.page.write")
    (project / "src/melanoma/page/templates/__pycache__").mkdir()
    (project / "src/melanoma/page/templates/__pycache__/page.pyc").write_bytes(b"compiled")
    assert closure(project, "melanoma.page.write") == before


@pytest.mark.parametrize(
    ("key", "classes"),
    [
        ("train", {"melanoma.config.sections:Train"}),
        ("train.rate", {"melanoma.config.sections:Train"}),
        ("search", {"melanoma.config.sections:Tune"}),
        ("search.space", {"melanoma.config.sections:Space"}),
        ("promote.${item}", {"melanoma.config.sections:Promote"}),
        ("cohorts.${item}", set()),
    ],
)
def test_a_key_of_the_parameters_is_declared_by_the_innermost_class(project, key, classes):
    assert toy_code.parts(project).section(key) == classes


def test_a_key_of_no_section_is_refused(project):
    with pytest.raises(ConfigError, match="trian is not in a section"):
        toy_code.parts(project).section("trian")


def test_a_script_that_is_not_there_is_refused(project):
    with pytest.raises(ConfigError, match=r"no module pipelines\.evaluate"):
        closure(project, "pipelines.evaluate")


def test_a_library_without_a_locked_version_says_so(project):
    (project / "requirements.lock").write_text("")
    assert closure(project, "melanoma.fit")["numpy=="] == "not locked"
