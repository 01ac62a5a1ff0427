"""A project in a folder with spaces in its path: stages, commands and the server work as elsewhere."""

import base64
import re
import shutil

import pytest
import requests

from tests.end_to_end.clone import free_port, run, server
from tests.imports import ROOT

pytestmark = pytest.mark.slow

TARGET = ("make", "--assume-old", ".venv/.installed")  # the packages are those of the tests


@pytest.fixture(scope="module")
def spaced(demo, tmp_path_factory):
    """The finished demo, moved to a folder with spaces in its path."""
    return shutil.copytree(demo, tmp_path_factory.mktemp("with spaces") / "my project", symlinks=True)


@pytest.fixture(scope="module")
def answered(spaced):
    """The answer of `make serve` to an image of the demo."""
    run(spaced, *TARGET, "relocate")
    port = free_port()
    command = (*TARGET, "serve", f"PORT={port}")
    with server(spaced, *command, url=f"http://127.0.0.1:{port}/ping"):
        image = base64.b64encode((spaced / "data/raw/sample/images/SYN_00001.jpg").read_bytes()).decode()
        body = {"dataframe_split": {"columns": ["image"], "data": [[image]]}}
        answer = requests.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=60)
    assert answer.ok, answer.text
    return answer.json()["predictions"][0]


def test_a_moved_project_says_so_and_works_after_make_relocate(spaced):
    assert "was moved or copied" in run(spaced, *TARGET, "serve", exit_code=2)
    assert "changed from" in run(spaced, *TARGET, "relocate")
    assert "nothing to change" in run(spaced, *TARGET, "relocate")
    assert "Next:" in run(spaced, *TARGET, "summary")
    assert "ok    store" in run(spaced, "python", "-m", "melanoma.stages.doctor")


def test_a_stage_runs_again(spaced):
    assert "Running stage 'ingest@sample'" in run(
        spaced, "dvc", "repro", "--force", "--single-item", "ingest@sample"
    )


def test_the_served_model_is_verified_and_no_folder_with_a_quoted_name_is_made(answered, spaced):
    assert answered["verification"] == "verified"
    assert answered["model_version"] == "1"
    assert not [path for path in spaced.parents[1].iterdir() if "%20" in path.name]


def test_the_answers_that_the_readmes_show_have_the_fields_of_a_real_one(answered):
    assert set(shown_fields(ROOT / "src/melanoma/serving/README.md")) == set(answered)
    assert set(shown_fields(ROOT / "README.md")) <= set(answered)


def shown_fields(readme):
    """The names of the fields of an answer, of which a README may leave out some."""
    (shown,) = re.findall(r'^\{"predictions": .*\}$', readme.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert '"positive_means": "melanoma"' in shown
    return re.findall(r'"(\w+)":', shown.removeprefix('{"predictions":'))
