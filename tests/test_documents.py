"""Whether the READMEs are short and true: files, links, commands and parameters that they name exist."""

import ast
import importlib
import re
import shlex
import shutil
import string
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from dvc.exceptions import InvalidArgumentError
from dvc.utils.hydra import apply_overrides
from PIL import Image

from melanoma import config
from melanoma.data.sources import readers
from melanoma.errors import ConfigError
from tests.benchmarks.bench_statistics import BLOCK
from tests.data.toys import TARGET_RULE
from tests.documents import DOCUMENTS, TOP, Command, blocks, shell_commands, text_of
from tests.imports import ROOT

MAX_BYTES = 8 * 1024
MAX_BYTES_OF_TOP = 10 * 1024
SUFFIXES = ("py", "yaml", "json", "md", "csv", "toml", "lock", "txt", "html", "parquet", "png", "npy", "onnx")
LOOKS_LIKE_A_FILE = re.compile(r"[\w.<>*/-]+(\.(" + "|".join((*SUFFIXES, "Dockerfile")) + r")|/)")
OF_USERS = ("PH2Dataset.zip", "data/raw/", "reports/benchmarks/")

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def spans(document: Path) -> list[str]:
    """What stands in backticks, outside code blocks."""
    prose = re.sub(r"^ *```.*?^ *```", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(document: Path) -> Iterator[list[str]]:
    """The words of each command: those of shell blocks, and what stands in backticks."""
    lines = [command.text for block in blocks(document, "bash") for command in shell_commands(block)]
    for line in [*lines, *spans(document)]:
        for command in re.split(r" && |; ", line):
            try:
                words = shlex.split(command, comments=True)
            except ValueError:  # a quote in the code of another language
                continue
            if words:
                yield words


@cache
def graphs() -> dict[str, Any]:
    """The stages of both graphs."""
    return {
        name: stage
        for path in ("dvc.yaml", "pipelines/study/dvc.yaml")
        for name, stage in yaml.safe_load(text_of(ROOT / path))["stages"].items()
    }


@cache
def outputs() -> list[str]:
    """Every output of both graphs, with a star for the dataset or cohort."""
    entries = [
        entry
        for stage in graphs().values()
        for kind in ("outs", "metrics", "plots")
        for entry in stage.get("do", stage).get(kind, [])
    ]
    paths = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
    return [path.replace("${item}", "*") for path in paths]


@cache
def strings_of_code() -> str:
    """All text in quotes of the code, docstrings too: names of files that no graph declares."""
    paths = [path for folder in ("src", "pipelines") for path in sorted((ROOT / folder).rglob("*.py"))]
    nodes = (node for path in paths for node in ast.walk(ast.parse(text_of(path))))
    return "\n".join(
        node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def is_written(name: str) -> bool:
    """Whether a stage writes `name`, or something below or above it."""
    wanted = re.sub(r"<\w+>", "*", name).rstrip("/")
    for output in outputs():
        if output == wanted or output.startswith(wanted + "/") or wanted.startswith(output + "/"):
            return True
        if Path(output).name == wanted or fnmatchcase(wanted, output):
            return True
    return False


def is_there(name: str, document: Path) -> bool:
    places = (ROOT, document.parent, ROOT / "src/melanoma")
    pattern = re.sub(r"<\w+>", "*", name).strip("/")
    found = [next(place.glob(below + pattern), None) for place in places for below in ("", "*/")]
    return any(found)


@documents
def test_a_readme_is_short(document):
    """The generated table of simulations does not count."""
    size = len(BLOCK.sub("", document.read_text(encoding="utf-8")).encode())
    assert size <= (MAX_BYTES_OF_TOP if document == TOP else MAX_BYTES)


@documents
def test_a_readme_says_what_the_project_is_not_and_has_no_hole(document):
    text = text_of(document)
    assert "@@" not in text
    assert "TODO" not in text
    if document.is_relative_to(ROOT / "src") or document == TOP:
        assert "not a medical device" in " ".join(text.split()).lower()


@documents
def test_links_of_a_readme_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        assert place.exists(), target
        if anchor:
            page = place / "README.md" if place.is_dir() else place
            assert anchor in anchors(text_of(page)), target


def anchors(text: str) -> set[str]:
    """The anchors of headings: small letters, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    punctuation = str.maketrans("", "", string.punctuation.replace("-", "").replace("_", ""))
    return {heading.lower().translate(punctuation).replace(" ", "-") for heading in headings}


@documents
def test_files_that_a_readme_names_exist_or_are_written(document):
    named = {span for span in spans(document) if LOOKS_LIKE_A_FILE.fullmatch(span)}
    missing = [
        name
        for name in sorted(named)
        if not (
            is_there(name, document)
            or is_written(name)
            or name.startswith(OF_USERS)
            or (name.strip("/*") in strings_of_code())
        )
    ]
    assert not missing


@documents
def test_make_targets_of_a_readme_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    named = {words[1] for words in commands(document) if words[0] == "make" and len(words) > 1}
    assert named <= targets


def help_of(module: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The help of a script; with its subcommand, if the words name one."""
    helps = []
    for arguments in (["--help"], [*words[:1], "--help"]):
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(module).main(arguments)
        assert ended.value.code == 0, (module, arguments)
        helps.append(capsys.readouterr().out)
    return "\n".join(helps)


@documents
def test_scripts_that_a_readme_calls_take_the_options_that_it_gives(document, capsys):
    for words in commands(document):
        if words[:2] != ["python", "-m"] or not words[2].startswith("pipelines."):
            continue
        module, arguments = words[2], words[3:]
        told = help_of(module, [word for word in arguments if not word.startswith("-")], capsys)
        for option in (word.partition("=")[0] for word in arguments if word.startswith("--")):
            assert re.search(rf"{option}\b", told), (module, option)


@documents
def test_modules_that_a_readme_runs_exist(document):
    for words in commands(document):
        if words[:2] == ["python", "-m"] and words[2].startswith(("tests.", "melanoma.")):
            assert importlib.util.find_spec(words[2]) is not None, words


@documents
def test_parameters_that_a_readme_names_exist(document):
    params = config.read_yaml(ROOT / "params.yaml")
    named = [override.partition("=")[0] for words in commands(document) for override in overrides_of(words)]
    prefix = "params.yaml: "
    named += [span.removeprefix(prefix) for span in spans(document) if span.startswith(prefix)]
    dotted = re.compile(r"([a-z]+(?:\.[a-z_0-9]+)+)(?:: .*)?")
    named += [
        match[1]
        for match in map(dotted.fullmatch, spans(document))
        if match and match[1].split(".")[0] in params and not LOOKS_LIKE_A_FILE.fullmatch(match[1])
    ]
    for name in named:
        node: Any = params
        for key in name.split("."):
            assert key in node or node in (params["ingest"], params["cohorts"]), name
            node = node.get(key)


def overrides_of(words: list[str]) -> list[str]:
    """The parameters that `dvc exp run` sets, `train.num_epochs=100`."""
    return [word for before, word in pairwise(words) if before in ("-S", "--set-param")]


def load_params(overrides: list[str], folder: Path) -> config.Params:
    """The committed parameters as `dvc exp run` would change them."""
    path = Path(shutil.copy(ROOT / "params.yaml", folder))
    apply_overrides(path, overrides)
    return config.load(path)


@documents
def test_experiments_in_shell_blocks_set_parameters_to_allowed_values(document, tmp_path):
    for block in blocks(document, "bash"):
        for command in shell_commands(block):
            if overrides := overrides_of(shlex.split(command.text, comments=True)):
                load_params(overrides, tmp_path)


def test_an_unknown_parameter_and_a_value_out_of_range_are_refused(tmp_path):
    assert load_params(["evaluate.min_sensitivity=0.9"], tmp_path).evaluate.min_sensitivity == 0.9
    with pytest.raises(InvalidArgumentError):
        load_params(["train.epochs=3"], tmp_path)
    with pytest.raises(ConfigError):
        load_params(["evaluate.min_sensitivity=2"], tmp_path)


def test_a_mark_says_which_commands_need_what_a_test_has_not():
    block = """
dvc repro | \\
  tail          # the end
stack up        # needs: Docker
stack down      # stops all; needs: Docker
a |
  b
# needs: two machines
ray status      # of both
ray stop
"""
    assert shell_commands(block) == [
        Command("dvc repro |    tail          # the end", ""),
        Command("stack up", "Docker"),
        Command("stack down", "Docker"),
        Command("a |   b", ""),
        Command("ray status      # of both", "two machines"),
        Command("ray stop", "two machines"),
    ]


@documents
def test_entry_points_and_stages_of_commands_exist(document):
    entry_points = yaml.safe_load(text_of(ROOT / "MLproject"))["entry_points"]
    for words in commands(document):
        if words[:2] == ["mlflow", "run"] and "-e" in words:
            assert words[words.index("-e") + 1] in entry_points, words
        if words[:2] == ["dvc", "repro"]:
            targets = [word.removeprefix("pipelines/study/dvc.yaml") for word in words[2:]]
            stages = {target.removeprefix(":").partition("@")[0] for target in targets if target[:1] != "-"}
            assert stages - {""} <= set(graphs()), words


@pytest.mark.parametrize(
    ("graph", "document"),
    [
        ("dvc.yaml", "pipelines/README.md"),
        ("pipelines/study/dvc.yaml", "src/melanoma/study/README.md"),
    ],
)
def test_a_readme_has_a_row_for_each_stage_of_its_graph(graph, document):
    stages = yaml.safe_load(text_of(ROOT / graph))["stages"]
    assert not [stage for stage in stages if f"| `{stage}` |" not in text_of(ROOT / document)]


def test_the_top_readme_draws_each_stage_but_the_digest_of_the_code():
    stages = yaml.safe_load(text_of(ROOT / "dvc.yaml"))["stages"]
    (graph,) = blocks(TOP, "mermaid")
    assert {stage for stage in stages if not re.search(rf"\b{stage}\b", graph)} == {"code"}


def test_the_worked_example_of_a_dataset_reads_one(tmp_path, monkeypatch):
    (code,) = blocks(ROOT / "src/melanoma/data/README.md", "python")
    example: dict[str, Any] = {}
    exec(code, example)
    raw = tmp_path / "raw"
    (raw / "images").mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.new("RGB", (8, 8)).save(raw / "images" / f"{name}.png")
    rows = {
        "image_id": ["A", "B", "C"],
        "image_file": ["a.png", "b.png", "c.png"],
        "mask_file": ["", "", ""],
        "label": ["malignant", "Benign", "unknown"],
        "patient": ["1", "2", ""],
        "sex": ["F", "male", "unknown"],
    }
    pd.DataFrame(rows).to_csv(raw / "metadata.csv", index=False)
    monkeypatch.setitem(readers.READERS, "clinic", example["read_records"])
    records = readers.read_records("clinic", raw, licence="CC-0", attribution="Clinic", **TARGET_RULE)
    assert records["target"].tolist() == [1, 0, pd.NA]
    assert records["sex"].tolist() == ["female", "male", pd.NA]
    assert records["patient_id"].tolist() == ["1", "2", pd.NA]
    assert (records["licence"] == "CC-0").all()
