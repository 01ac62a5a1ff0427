"""A tracking server calls a bot when an alias moves or a proposal is made, as `infra/README.md` says."""

import base64
import hashlib
import hmac
import json
import queue
import shutil
import threading
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer

import mlflow
import pytest
from cryptography.fernet import Fernet

from melanoma.registry import versions
from tests.end_to_end.clone import free_port, server
from tests.registry.shelf import NAME, Shelf

pytestmark = pytest.mark.slow
SECRET = "s" * 32
SECONDS = 120  # until a call must have arrived


@contextmanager
def receiver():
    """The address of an HTTP server, and the requests that it got: headers and body."""
    got: queue.Queue[tuple[Message, bytes]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.put((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}/", got
        made.shutdown()


def signature(headers, body, secret):
    """What a receiver computes."""
    signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


@pytest.fixture
def served(empty_store, tmp_path, monkeypatch):
    """A registry behind a real tracking server on SQLite that may call this machine."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    store = ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    store += ["--artifacts-destination", str(tmp_path / "artifacts")]
    settings = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
    }
    command = ["mlflow", "server", *store, "--workers", "1", "--port", str(port)]
    with server(tmp_path, *command, url=f"{url}/health", settings=settings):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        mlflow.set_tracking_uri(url)
        yield Shelf(tmp_path)


def test_a_bot_hears_of_aliases_and_proposals_and_can_check_who_calls(served):
    with receiver() as (url, got):
        client = mlflow.MlflowClient()
        events = ["model_version_alias.created", "model_version_tag.set"]
        client.create_webhook("bot", url, events, secret=SECRET)
        served.register()
        served.move(1)
        headers, body = got.get(timeout=SECONDS)
        assert hmac.compare_digest(headers["X-MLflow-Signature"], signature(headers, body, SECRET))
        assert headers["X-MLflow-Signature"] != signature(headers, body, "another secret")
        called = json.loads(body)
        assert (called["entity"], called["action"]) == ("model_version_alias", "created")
        assert called["data"] == {"name": NAME, "alias": versions.STAGING, "version": "1"}
        client.set_model_version_tag(NAME, "1", "proposal", "train")
        called = json.loads(got.get(timeout=SECONDS)[1])
        expected = {"name": NAME, "version": "1", "key": "proposal", "value": "train"}
        assert (called["entity"], called["data"]) == ("model_version_tag", expected)
