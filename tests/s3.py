"""A real S3 store (SeaweedFS) on the loopback interface: one for all tests of a session."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.end_to_end.clone import free_port, server

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}
# Where boto3 would look otherwise; a developer's own keys have no part in tests.
ELSEWHERE = {
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
UNSET = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", *KEYS)


@dataclass(frozen=True)
class S3Server:
    """A running store."""

    url: str
    client: Any

    @property
    def settings(self) -> dict[str, str]:
        """The environment of those who use it."""
        return KEYS | ELSEWHERE | {"AWS_ENDPOINT_URL_S3": self.url}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The store itself; it ends with the session."""
    import boto3

    folder, port = tmp_path_factory.mktemp("s3"), free_port()
    ports = [f"-{part}.port={free_port()}" for part in ("master", "volume", "filer")]
    grpc = [f"-{part}.port.grpc={free_port()}" for part in ("master", "volume", "filer", "s3")]
    command = ["weed", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
    ports += [f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    limits = ["-volume.max=0", "-master.volumeSizeLimitMB=64"]  # as many volumes as the disk holds
    url = f"http://127.0.0.1:{port}"
    with server(folder, *command, *ports, *grpc, *limits, url=f"{url}/healthz", settings=KEYS):
        keys = {name.lower(): value for name, value in KEYS.items() if "KEY" in name}
        yield S3Server(url, boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys))


@pytest.fixture
def no_s3_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says nothing of any store."""
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def s3(s3_server: S3Server, no_s3_settings: None, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The store, and the environment points to it."""
    for name, value in s3_server.settings.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def new_bucket() -> str:
    """The name of a bucket that does not exist yet."""
    return f"test-{uuid.uuid4().hex}"
