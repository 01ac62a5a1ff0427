"""Importing does no work, and heavy libraries stay where they belong."""

import subprocess
import sys

import pytest

from tests.imports import ROOT, files_behind

MODULES = sorted(
    path.relative_to(ROOT / "src").with_suffix("").as_posix().replace("/", ".")
    for path in (ROOT / "src" / "melanoma").rglob("*.py")
    if path.stem not in {"__init__", "model_code"}  # model_code is run by MLflow, which sets the model
)
LIGHT_STAGES = ("sample", "ingest", "inspect", "split", "pack")


def run_python(code: str, folder) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_importing_all_modules_makes_no_file_and_sets_no_tracking_uri(tmp_path):
    code = (
        f"import importlib, os, sys\nsys.path.insert(0, {str(ROOT)!r})\nbefore = dict(os.environ)\n"
        f"for name in {MODULES!r}: importlib.import_module(name)\n"
        "changed = {k for k in os.environ if k.startswith('MLFLOW') and before.get(k) != os.environ[k]}\n"
        "print(sorted(changed))"
    )
    assert run_python(code, tmp_path).strip() == "[]"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", LIGHT_STAGES)
def test_a_light_stage_imports_no_heavy_library(stage, tmp_path):
    code = (
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nimport pipelines.{stage}\n"
        "print([n for n in ('tensorflow', 'keras', 'mlflow', 'great_expectations', 'optuna') "
        "if n in sys.modules])"
    )
    assert run_python(code, tmp_path).strip() == "[]"


def test_only_one_module_imports_boto3_and_only_tracking_registry_and_serving_import_mlflow():
    owners: dict[str, set[str]] = {"mlflow": set(), "boto3": set()}
    for path in (*(ROOT / "src").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")):
        for library, files in owners.items():
            if f"import {library}" in path.read_text() or f"from {library}" in path.read_text():
                files.add(path.relative_to(ROOT).as_posix())
    assert owners["boto3"] <= {"src/melanoma/storage.py"}
    folders = ("src/melanoma/serving/", "src/melanoma/registry/")
    assert {file for file in owners["mlflow"] if not file.startswith(folders)} == {
        "src/melanoma/tracking.py",
        "src/melanoma/tracking_fields.py",
    }


def test_evaluate_and_promote_need_no_tensorflow():
    for stage in ("evaluate", "promote"):
        names = {path.name for path in files_behind(ROOT / "pipelines" / f"{stage}.py")}
        assert not names & {"fit.py", "search.py", "conv_blocks.py"}


def test_no_module_is_longer_than_400_lines():
    long = {
        path.name: count
        for folder in ("src", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
