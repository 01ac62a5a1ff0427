import json

import pytest

from melanoma.errors import ConfigError
from melanoma.stages import code
from tests import toy_code


@pytest.fixture
def project(tmp_path):
    return toy_code.write(tmp_path)


def digests(project):
    """The stages' digests, as `dvc repro` would write them now."""
    stages = code.read_stages([project / "dvc.yaml"])
    return code.write(stages, toy_code.parts(project), project / "code.json")


def stale(project, name, old, new):
    """The stages whose digest changes with a file."""
    before = digests(project)
    toy_code.change(project, name, old, new)
    after = digests(project)
    return {stage for stage in before if before[stage] != after[stage]}


def test_each_stage_but_the_one_that_writes_them_has_a_digest(project):
    written = digests(project)
    assert list(written) == ["train", "promote"]
    content = json.loads((project / "code.json").read_text())
    assert set(content) == {"train", "promote", code.PARTS}
    assert {stage: content[stage] for stage in written} == written


def test_the_same_code_gives_the_same_file_from_any_folder(project, tmp_path_factory):
    digests(project)
    other = toy_code.write(tmp_path_factory.mktemp("other"))
    digests(other)
    assert (other / "code.json").read_bytes() == (project / "code.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "old", "new", "stages"),
    [
        ("src/melanoma/fit.py", "np.ones(3)", "np.ones(4)", {"train"}),
        ("src/melanoma/config/sections.py", "bound: Fraction", "bound: float\n    gate: float", {"promote"}),
        ("src/melanoma/config/sections.py", "rate: float", "rate: Fraction", {"train"}),
        ("src/melanoma/config/sections.py", "trials: int", "trials: float", set()),
        ("src/melanoma/config/types.py", "strict = True", "strict = False", {"train", "promote"}),
        ("src/melanoma/page/templates/page.css", "{}", "{color: red}", {"promote"}),
        ("requirements.lock", "tensorflow==2.21.0", "tensorflow==2.22.0", {"train"}),
        (
            "pipelines/train.py",
            "from melanoma import config\n",
            "from melanoma import config  # all\n",
            set(),
        ),
    ],
)
def test_a_change_reaches_the_stages_that_it_can_change(project, name, old, new, stages):
    assert stale(project, name, old, new) == stages


def test_an_explanation_lists_all_parts_and_marks_those_that_changed(project):
    digests(project)
    toy_code.change(project, "requirements.lock", "tensorflow==2.21.0", "tensorflow==2.22.0")
    toy_code.change(project, "src/melanoma/fit.py", "np.ones(3)", "np.ones(4)")
    stages = code.read_stages([project / "dvc.yaml"])
    lines = code.explain(stages["train"], toy_code.parts(project), project / "code.json")
    assert lines == [
        "  melanoma.config.sections:Space",
        "  melanoma.config.sections:Train",
        "  melanoma.config.types:Fraction",
        "  melanoma.config.types:Section",
        "* melanoma.fit",
        "  numpy==2.4.6, 2.5.5",
        "  pipelines",
        "  pipelines.train",
        "* tensorflow==2.22.0, was 2.21.0",
    ]


def test_a_stage_of_two_graphs_is_refused(project):
    with pytest.raises(ConfigError, match="The stage code is in"):
        code.read_stages([project / "dvc.yaml", project / "dvc.yaml"])


def test_a_stage_that_runs_no_script_is_refused(project):
    with pytest.raises(ConfigError, match=r"python -m pipelines.<script>.*got 'echo'"):
        code.parts_of({"cmd": "echo"}, toy_code.parts(project))
