"""One name everywhere: stage = script = section of params.yaml = entry point = test.

And: every path of a command is a dependency or an output, and every import of a script is a
dependency, because DVC does not follow imports (dvc#9195).
"""

import re

import pytest
from ruamel.yaml import YAML

from melanoma.config import Params
from tests.imports import ROOT, files_behind

yaml = YAML(typ="safe", pure=True)
STAGES = yaml.load(ROOT / "dvc.yaml")["stages"]
ENTRY_POINTS = yaml.load(ROOT / "MLproject")["entry_points"]
PARAMS = yaml.load(ROOT / "params.yaml")
SCRIPTS = {path.stem for path in (ROOT / "pipelines").glob("[!_]*.py")}
NOT_A_STAGE = {  # run by people; see MLproject
    "fetch",
    "history",
    "predict",
    "release",
    "relocate",
    "rollback",
    "smoke",
    "storage",
    "summary",
    "trace",
}
NOT_A_SCRIPT = {"main", "experiment"}  # entry points that are commands of DVC
SHARED_SECTIONS = {"run", "cohorts", "execution", "fetch", "augment", "baseline", "model", "serve"}


def definition(stage: str) -> dict:
    """The stage itself, or what its loop does."""
    return STAGES[stage].get("do", STAGES[stage])


def paths(items: list) -> set[str]:
    """The paths of a list of deps, outs, metrics or plots."""
    return {next(iter(item)) if isinstance(item, dict) else item for item in items}


def outputs(stage: str) -> set[str]:
    return {path for kind in ("outs", "metrics", "plots") for path in paths(definition(stage).get(kind, []))}


def test_every_stage_has_a_script_and_every_script_a_stage():
    assert set(STAGES) == SCRIPTS - NOT_A_STAGE


def test_every_script_has_an_entry_point():
    assert set(ENTRY_POINTS) - NOT_A_SCRIPT == SCRIPTS


@pytest.mark.parametrize("stage", STAGES)
def test_an_entry_point_runs_its_stage(stage):
    assert ENTRY_POINTS[stage]["command"] == f"python -m pipelines._repro {stage}"


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_every_script_has_a_test(script):
    assert (ROOT / "tests" / "pipelines" / f"test_{script}.py").is_file()


def test_every_stage_has_a_section_of_its_name_and_no_section_is_left_over():
    assert set(PARAMS) - SHARED_SECTIONS == set(STAGES)


def test_the_typed_sections_are_those_of_the_file():
    assert {field.alias or name for name, field in Params.model_fields.items()} == set(PARAMS)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_the_script_of_its_name(stage):
    assert definition(stage)["cmd"].startswith(f"python -m pipelines.{stage} ")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_own_section(stage):
    assert any(str(key).split(".")[0] == stage for key in definition(stage)["params"])


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_of_a_command_is_a_dependency_or_an_output(stage):
    named = set(re.findall(r"(?:data|models|reports)/\S+", definition(stage)["cmd"]))
    listed = paths(definition(stage).get("deps", [])) | outputs(stage)
    listed = {path for path in listed if path.startswith(("data/", "models/", "reports/"))}
    assert {path for path in named if path not in listed and path.rpartition("/")[0] not in listed} == set()
    # Images are reached through the paths in the records, so `inspect` names no raw folder.
    assert listed - named <= {"data/raw/${item}", "data/raw"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_import_of_a_stage_is_a_dependency(stage):
    needed = {path.relative_to(ROOT).as_posix() for path in files_behind(ROOT / "pipelines" / f"{stage}.py")}
    listed = {path for path in paths(definition(stage)["deps"]) if path.endswith(".py")}
    assert listed == needed, f"mend dvc.yaml stages.{stage}.deps"


def test_the_page_depends_on_its_templates_and_nothing_follows_it():
    assert "src/melanoma/page/templates" in paths(STAGES["page"]["deps"])
    assert not [stage for stage in STAGES if outputs("page") & paths(definition(stage)["deps"])]
    assert list(STAGES)[-1] == "page"


@pytest.mark.parametrize("stage", STAGES)
def test_no_default_of_a_parameter_hides_in_a_command(stage):
    options = re.findall(r"--(\S+)", definition(stage)["cmd"])
    assert not set(options) & set(PARAMS[stage] or {})


def test_the_loops_run_over_the_active_datasets_and_cohorts():
    loops = {stage: STAGES[stage].get("foreach") for stage in STAGES}
    assert loops == {
        **dict.fromkeys(("sample", "duplicates", "assign", "paper", "compare", "page")),
        **dict.fromkeys(("ingest", "inspect", "validate", "card"), "${run.datasets}"),
        **dict.fromkeys(
            ("split", "segment", "pack", "tune", "train", "evaluate", "audit", "promote"), "${run.cohorts}"
        ),
        **dict.fromkeys(("study", "diagnosis", "crops", "transfer", "resplit"), "${run.study}"),
    }


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "infra/bootstrap.lock"])
def test_locks_hold_versions_and_hashes_and_name_no_host(lock):
    text = (ROOT / lock).read_text(encoding="utf-8")
    pins = re.findall(r"^\S+==\S+", text, flags=re.MULTILINE)
    assert pins
    assert text.count("==") >= len(pins)
    assert "--hash=sha256:" in text
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|^-i ", text, flags=re.MULTILINE)


def test_the_dev_lock_pins_what_the_lock_pins():
    def pins(name: str) -> set[str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        return {line.removesuffix(" \\") for line in lines if "==" in line and not line.startswith(" ")}

    assert pins("requirements.lock") <= pins("requirements-dev.lock")
