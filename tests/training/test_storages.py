import os
import subprocess
import sys

import optuna
import psycopg
import pytest

from melanoma.errors import TrainingError
from melanoma.training import storages
from melanoma.training.storages import hide_password, open_storage, storage_errors

DOWN = "postgresql://me:secret@127.0.0.1:1/studies"


def add_study(storage, name="s"):
    return optuna.create_study(study_name=name, storage=open_storage(storage), load_if_exists=True)


def test_a_postgresql_database_keeps_studies_however_long_their_problem(postgres):
    url = postgres["studies"]
    add_study(url).set_user_attr("problem", {"text": "a" * 100_000})
    add_study(url).ask()
    again = add_study(url)
    assert len(again.trials) == 1
    assert len(again.user_attrs["problem"]["text"]) == 100_000


def test_a_database_with_the_tables_of_another_program_is_refused(postgres):
    url = postgres["others"]
    add_study(url)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of_mlflow'")
    with pytest.raises(TrainingError, match="to the URL of a PostgreSQL database"):
        add_study(url)


def test_a_path_is_a_journal_that_is_found_again_and_its_folder_is_made(tmp_path):
    path = str(tmp_path / "new" / "s.journal")
    add_study(path).ask()
    assert len(add_study(path).trials) == 1


@pytest.mark.parametrize(
    "content",
    [b"no json\n", b"\x89PNG\xff\n", b'{"a": 1}\n', b"[1]\n", b'{"op_code": 99}\n', b"1\n2\n"],
)
def test_a_file_that_is_no_journal_is_refused_and_stays_as_it_was(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(
        TrainingError, match=r"notes.txt is not an Optuna journal .* params.yaml: tune.storage"
    ):
        open_storage(str(path))
    assert path.read_bytes() == content


def test_a_journal_cut_in_the_middle_of_a_line_is_refused_before_the_next_entry_is_glued_to_it(tmp_path):
    path = tmp_path / "s.journal"
    add_study(str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(TrainingError, match="is incomplete: the disk was full"):
        open_storage(str(path))
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))  # as the message says
    add_study(str(path))


def test_an_empty_file_becomes_a_journal(tmp_path):
    (tmp_path / "s.journal").touch()
    add_study(str(tmp_path / "s.journal"))


def test_a_lock_that_a_kill_left_is_broken_also_for_a_relative_path(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    add_study("data/s.journal")
    program = (
        "import os, optuna\n"
        "from melanoma.training import storages\n"
        "backend = storages.open_storage('data/s.journal')._backend\n"
        "backend._lock.acquire()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, env=os.environ | {"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.returncode == -9
    assert os.path.lexists("data/s.journal.lock")
    monkeypatch.setattr(storages, "LOCK_SECONDS", 3)
    add_study("data/s.journal", name="another")
    assert not os.path.lexists("data/s.journal.lock")


def test_a_database_that_is_down_is_named_without_its_password_and_says_what_to_do():
    with pytest.raises(TrainingError) as caught, storage_errors(DOWN):
        open_storage(DOWN)
    message = str(caught.value)
    assert "postgresql://me:***@127.0.0.1:1/studies does not answer" in message
    assert "Connection refused" in message or "connection failed" in message
    assert "Start it, or set params.yaml: tune.storage to another" in message
    assert "secret" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "url", ["sqlite:///studies.db", "mysql://me:secret@host/studies", "postgres://me:secret@host/studies"]
)
def test_databases_that_several_processes_break_or_nobody_tried_are_refused(url):
    with pytest.raises(TrainingError, match="must be a file or a PostgreSQL database") as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


def test_a_url_that_is_none_is_refused():
    with pytest.raises(TrainingError, match=r"postgresql://me:\*\*\*@\[::/x cannot be used"):
        open_storage("postgresql://me:secret@[::/x")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me@host/studies", "postgresql://me@host/studies"),
        ("postgresql://me:a:b@host:5432/studies", "postgresql://me:***@host:5432/studies"),
        ("postgresql:///studies?host=/run&password=a", "postgresql:///studies?host=/run&password=***"),
        ("data/studies.journal", "data/studies.journal"),
    ],
)
def test_passwords_are_hidden_and_nothing_else(url, shown):
    assert hide_password(url) == shown
