"""Check that the server of a tracking store answers before MLflow asks, which would retry for minutes.

The check runs once per process: a running training survives a short outage with MLflow's own retries. Any
answer counts, whatever it says.
"""

import os
import threading
from collections.abc import Callable

import requests
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

ANSWER_SECONDS = 4.0  # 10 s in all with the imports of a script
NUM_RETRIES = 1
DATABASES = ("postgresql", "mysql", "mssql")
DOWN = (502, 503, 504)  # answers of a proxy whose server is down
_answered: set[str] = set()


def require_answer(uri: str) -> None:
    """Raise if the server at `uri` does not answer soon; files and other stores are not checked.

    Args:
        uri: Address of the store. MLFLOW_HTTP_REQUEST_TIMEOUT and MLFLOW_HTTP_REQUEST_MAX_RETRIES replace the
            limits of this module.

    Raises:
        OSError: A server does not answer.
        SQLAlchemyError: A database does not answer.
    """
    scheme = uri.partition(":")[0].partition("+")[0]
    if uri in _answered or scheme not in ("http", "https", *DATABASES):
        return
    given = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT")
    seconds = float(given or ANSWER_SECONDS)
    tries = 1 + int(os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES") or NUM_RETRIES)
    ask = _ask_database if scheme in DATABASES else _ask_server
    _within(seconds * tries if given else seconds, lambda: ask(uri, seconds, tries))
    _answered.add(uri)


def _within(seconds: float, ask: Callable[[], None]) -> None:
    """Ask in a thread: name lookups, and databases that accept but do not answer, have no time limit."""
    outcome: list[Exception | None] = []

    def question() -> None:
        try:
            ask()
            outcome.append(None)
        except (OSError, SQLAlchemyError) as error:
            outcome.append(error)

    thread = threading.Thread(target=question, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s; MLFLOW_HTTP_REQUEST_TIMEOUT=60 waits longer")
    if outcome[0] is not None:
        raise outcome[0]


def _ask_server(uri: str, seconds: float, tries: int) -> None:
    for left in reversed(range(tries)):
        try:
            status = requests.get(f"{uri.rstrip('/')}/health", timeout=seconds).status_code
        except requests.exceptions.SSLError:
            return  # it answers; MLflow reports untrusted certificates itself
        except requests.ConnectionError:
            if not left:
                raise
            continue
        if status not in DOWN:
            return
        if not left:
            raise ConnectionError(f"HTTP status {status}")


def _ask_database(uri: str, seconds: float, tries: int) -> None:  # noqa: ARG001  one signature for both
    sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool).connect().close()
