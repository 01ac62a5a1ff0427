"""One name everywhere: stage = script = section of params.yaml = entry point = test.

The graph of the study has the same equality one level down: `pipelines/study/`, section `study`.
"""

import re
import sys

import pytest
from ruamel.yaml import YAML

from melanoma.code_parts import RESULT_LIBRARIES, CodeParts
from melanoma.config import Params
from melanoma.stages import code
from pipelines.code import GRAPHS, LOCK, PACKAGES
from tests.imports import FOLDER_OF_PACKAGE, ROOT, files_behind, imported_names

yaml = YAML(typ="safe", pure=True)
MAIN = yaml.load(ROOT / "dvc.yaml")["stages"]
STUDY = yaml.load(ROOT / "pipelines" / "study" / "dvc.yaml")["stages"]
STAGES = MAIN | STUDY
CHAIN = [stage for stage in STAGES if stage != "code"]  # which depends on no parameter and no digest
ENTRY_POINTS = yaml.load(ROOT / "MLproject")["entry_points"]
PARAMS = yaml.load(ROOT / "params.yaml")
SCRIPTS = {path.stem for path in (ROOT / "pipelines").glob("[!_]*.py")}
STUDY_SCRIPTS = {path.stem for path in (ROOT / "pipelines" / "study").glob("[!_]*.py")}
# Libraries that move, store, check or draw values, and change none of them.
OTHER_LIBRARIES = {
    *("boto3", "botocore", "dvc", "fastapi", "filelock", "h5py", "jinja2", "markdown_it", "markupsafe"),
    *("matplotlib", "mlflow", "optuna_dashboard", "prometheus_client", "psutil", "pyarrow", "pydantic"),
    *("ray", "requests", "rich", "ruamel", "sqlalchemy", "threadpoolctl", "tqdm", "urllib3", "vl_convert"),
    "yaml",
}
NOT_A_STAGE = {  # run by people; see MLproject
    "accept",
    "crossvalidate",
    "data_check",
    "ensembles",
    "fetch",
    "history",
    "monitor",
    "predict",
    "propose",
    "publish",
    "queue",
    "recalibrate",
    "records",
    "release",
    "relocate",
    "replay",
    "rollback",
    "smoke",
    "storage",
    "summary",
    "trace",
    "ui",
}
# Networks are fitted or run.
FITTING = {
    "segment",
    "tune",
    "train",
    "protocols",
    "diagnosis",
    "crops",
    "transfer",
    "resplit",
}
NOT_A_SCRIPT = {"main", "experiment"}  # entry points that are commands of DVC
SHARED_SECTIONS = {
    "target",
    "run",
    "cohorts",
    "execution",
    "fetch",
    "crossvalidate",
    "augment",
    "backbone",
    "search",
    "baseline",
    "model",
    "monitor",
    "serve",
    "records",
    "queue",
    "replay",
    "propose",
    "recalibrate",
    "study",
}


def definition(stage: str) -> dict:
    """The stage itself, or what its loop does."""
    return STAGES[stage].get("do", STAGES[stage])


def module(stage: str) -> str:
    """The script of a stage."""
    return f"pipelines.study.{stage}" if stage in STUDY else f"pipelines.{stage}"


def paths(items: list) -> set[str]:
    """The paths of a list of deps, outs, metrics or plots."""
    return {next(iter(item)) if isinstance(item, dict) else item for item in items}


def outputs(stage: str) -> set[str]:
    return {path for kind in ("outs", "metrics", "plots") for path in paths(definition(stage).get(kind, []))}


def test_every_stage_has_a_script_and_every_script_a_stage():
    assert set(MAIN) == SCRIPTS - NOT_A_STAGE
    assert set(STUDY) == STUDY_SCRIPTS
    assert not set(MAIN) & set(STUDY)


def test_every_script_has_an_entry_point():
    assert set(ENTRY_POINTS) - NOT_A_SCRIPT == SCRIPTS | STUDY_SCRIPTS


@pytest.mark.parametrize("stage", STAGES)
def test_an_entry_point_runs_its_stage(stage):
    name = f"pipelines/study/dvc.yaml:{stage}" if stage in STUDY else stage
    assert ENTRY_POINTS[stage]["command"] == f"python -m pipelines._repro {name}"


def test_every_script_has_a_test():
    tests = ROOT / "tests" / "pipelines"
    assert [name for name in SCRIPTS if not (tests / f"test_{name}.py").is_file()] == []
    assert [name for name in STUDY_SCRIPTS if not (tests / "study" / f"test_{name}.py").is_file()] == []


def test_every_stage_has_a_section_of_its_name_and_no_section_is_left_over():
    assert set(PARAMS) - SHARED_SECTIONS == set(MAIN) - {"code"}
    assert set(PARAMS["study"]) - {"cohorts"} == set(STUDY)


def test_the_typed_sections_are_those_of_the_file():
    assert {field.alias or name for name, field in Params.model_fields.items()} == set(PARAMS)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_the_script_of_its_name(stage):
    assert definition(stage)["cmd"].startswith(f"python -m {module(stage)} ")


@pytest.mark.parametrize("stage", CHAIN)
def test_a_stage_depends_on_its_own_section_and_on_its_own_digest(stage):
    params = definition(stage)["params"]
    own = f"study.{stage}" if stage in STUDY else stage
    assert [key for key in params if isinstance(key, str) and f"{key}.".startswith(f"{own}.")]
    assert [key for key in params if isinstance(key, dict)] == [{"code.json": [stage]}]


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_of_a_command_is_a_dependency_or_an_output(stage):
    named = set(re.findall(r"(?:data|models|reports)/\S+", definition(stage)["cmd"]))
    listed = paths(definition(stage).get("deps", [])) | outputs(stage)
    listed = {path for path in listed if path.startswith(("data/", "models/", "reports/"))}
    folders = {path.rpartition("/")[0] for path in listed}  # `plots/` holds outputs of several stages
    known = listed | folders
    assert {path for path in named if path not in known and path.rpartition("/")[0] not in listed} == set()
    listed -= {path for path in listed if path.rpartition("/")[0] in named}
    # Images are reached through the paths in the records, so `inspect` names no raw folder.
    assert listed - named <= {"data/raw/${item}", "data/raw"}


def test_no_stage_lists_a_source_file_and_the_graph_is_short():
    listed = {path for stage in STAGES for path in paths(definition(stage).get("deps", []))}
    assert {path for path in listed if path.startswith(("src", "pipelines", "requirements"))} == set()
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 330


@pytest.fixture(scope="module")
def parts() -> dict[str, dict[str, str]]:
    """The parts behind each stage, by stage."""
    sources = CodeParts({name: ROOT / folder for name, folder in PACKAGES.items()}, ROOT / LOCK)
    stages = code.read_stages([ROOT / graph for graph in GRAPHS])
    return {name: code.parts_of(stage, sources) for name, stage in stages.items()}


def test_there_is_a_digest_for_each_stage_and_for_nothing_else(parts):
    assert list(parts) == CHAIN


@pytest.mark.parametrize("stage", CHAIN)
def test_every_module_that_a_script_imports_is_part_of_its_digest(stage, parts):
    """Held against a reader of imports that knows no exceptions."""
    script = ROOT.joinpath(*module(stage).split(".")).with_suffix(".py")
    needed = {
        path.relative_to(folder.parent).with_suffix("").as_posix().replace("/", ".")
        for path in files_behind(script)
        for folder in FOLDER_OF_PACKAGE.values()
        if path.is_relative_to(folder)
    }
    needed = {name for name in needed if not name.startswith("melanoma.config.")}
    assert needed - set(parts[stage]) == set()


def test_every_library_is_said_to_change_results_or_not():
    names = {
        name.partition(".")[0]
        for folder in FOLDER_OF_PACKAGE.values()
        for path in folder.rglob("*.py")
        for name in imported_names(path)
    }
    libraries = names - sys.stdlib_module_names - set(FOLDER_OF_PACKAGE)
    assert libraries <= set(RESULT_LIBRARIES) | OTHER_LIBRARIES
    assert not set(RESULT_LIBRARIES) & OTHER_LIBRARIES


@pytest.mark.parametrize("stage", CHAIN)
def test_tensorflow_is_behind_what_fits_networks_and_nothing_else(stage, parts):
    assert ("tensorflow==" in parts[stage]) == (stage in FITTING)


def test_nothing_follows_the_page():
    assert not [stage for stage in STAGES if outputs("page") & paths(definition(stage).get("deps", []))]
    assert list(MAIN)[-1] == "page"


@pytest.mark.parametrize("stage", CHAIN)
def test_no_default_of_a_parameter_hides_in_a_command(stage):
    options = re.findall(r"--(\S+)", definition(stage)["cmd"])
    section = PARAMS["study"][stage] if stage in STUDY else PARAMS[stage]
    assert not set(options) & set(section or {})


def test_the_main_scores_are_the_only_metrics():
    """`dvc metrics show` and `dvc exp show` print every number of every metrics file."""
    listed = {path for stage in STAGES for path in paths(definition(stage).get("metrics", []))}
    assert listed == {"reports/${item}/scores.json"}


def test_the_loops_run_over_the_active_datasets_and_cohorts():
    loops = {stage: STAGES[stage].get("foreach") for stage in STAGES}
    assert loops == {
        **dict.fromkeys(("code", "sample", "duplicates", "assign", "paper", "compare", "page")),
        **dict.fromkeys(("ingest", "inspect", "validate", "card"), "${run.datasets}"),
        **dict.fromkeys(
            ("split", "segment", "pack", "tune", "train", "evaluate", "audit", "promote"), "${run.cohorts}"
        ),
        **dict.fromkeys(("protocols", "diagnosis", "crops", "transfer", "resplit"), "${study.cohorts}"),
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
