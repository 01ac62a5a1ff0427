"""Whether the server of a tracking store answers, asked before MLflow does, which would try for minutes.

Only the first question of a process is asked so: a training under way survives a short outage, as MLflow's
own patience holds for it. What the answer is does not matter here, that there is one does.
"""

import os
import threading
from collections.abc import Callable

import requests
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

ANSWER_SECONDS = 4.0  # with the imports of a script, 10 s in all
NUM_RETRIES = 1
DATABASES = ("postgresql", "mysql", "mssql")
DOWN = (502, 503, 504)  # what a proxy answers for a server that is down
_answered: set[str] = set()


def require_answer(uri: str) -> None:
    """Raise where the server at `uri` does not answer soon; files and other stores are not asked.

    Args:
        uri: Address of the store. The limits of this module are replaced by MLFLOW_HTTP_REQUEST_TIMEOUT and
            MLFLOW_HTTP_REQUEST_MAX_RETRIES.

    Raises:
        OSError: There is no answer; says why.
        SQLAlchemyError: The same of a database.
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
    """Ask in a thread: looking up a name, and a database that accepts and says nothing, know no limit."""
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
            return  # it answers; MLflow knows which certificates to trust, and says so where it does not
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
