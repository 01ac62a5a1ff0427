"""The real `mlflow models serve`: every fault is answered with its reason, and the next request as before."""

import base64
import gzip
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from melanoma.serving import client, server
from melanoma.serving.posted import JSON
from tests.data.pictures import encode
from tests.data.zoo import build_zoo, skin
from tests.end_to_end import clone
from tests.serving.asgi import ask, front, posted
from tests.serving.conftest import ASKED_AND_GOT, LIMITS, SERVE, mlflow_settings, serving

pytestmark = pytest.mark.slow

TRACES = ("Traceback", 'File "', "/site-packages", "/artifacts", ".py")
HEADERS = {"content-type": JSON}


@pytest.fixture(scope="module")
def address(logged, tmp_path_factory):
    """The URL of a server of the served model."""
    with serving(logged.uri, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def good():
    return encode(skin(1), "JPEG")


@pytest.fixture
def before(address, good):
    """The answer to a good request."""
    (answer,) = client.score_images(address, {"a": good})
    return answer


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return build_zoo(tmp_path_factory.mktemp("zoo"))


def require_named(response: requests.Response, status: int, reason: str) -> None:
    assert response.status_code == status, response.text
    assert reason in response.json()["message"]
    assert not any(trace in response.text for trace in TRACES)
    assert len(response.text) < 2000  # neither body nor images come back


def test_the_served_answer_is_that_of_the_loaded_model(served, address, good, before):
    import pandas as pd

    alone = served.predict(pd.DataFrame({"image": [good], "image_id": ["a"]})).to_dict("records")
    assert [before] == alone


def test_a_real_server_tells_which_model_it_is_and_what_its_operating_point_got(address, before):
    told = requests.get(f"{address}/model", timeout=30).json()
    assert told.pop("operating_point") == ASKED_AND_GOT
    assert told == {
        name: before[name] for name in ("model_version", "verification", "note", "positive_means")
    }


FAULTS: dict[str, tuple[bytes, dict[str, Any], int, str]] = {
    "not JSON": (b"{", HEADERS, 400, "the body is not JSON"),
    "no UTF-8": (b"\xff\xfe{", HEADERS, 400, "the body is not JSON"),
    "too deep": (b"[" * 200_000, HEADERS, 400, "the body is not JSON"),
    "nothing": (b"", HEADERS, 400, "the body is not JSON"),
    "a list": (b"[1]", HEADERS, 400, "expected an object with"),
    "words for a language model": (b'{"messages": []}', HEADERS, 400, "expected an object with"),
    "no content type": (b"{}", {"content-type": None}, 415, "content-type: application/json"),
    "csv": (b"image\n1", {"content-type": "text/csv"}, 415, "content-type: application/json"),
    "parquet": (b"PAR1", {"content-type": "application/vnd.apache.parquet"}, 415, "application/json"),
    "200 MB": (b"x" * 200_000_000, HEADERS, 413, "the body has 200,000,000 bytes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_body_that_is_no_request_is_refused(address, good, before, fault):
    body, headers, status, reason = FAULTS[fault]
    require_named(
        requests.post(f"{address}/invocations", data=body, headers=headers, timeout=60), status, reason
    )
    assert client.score_images(address, {"a": good}) == [before]


CONTENTS = {
    "wrong columns": ({"columns": ["picture"], "data": [["x"]]}, None, "got picture"),
    "0 rows": ({"columns": ["image"], "data": []}, None, "expected 1 to 40 rows, got 0"),
    "100,000 rows": ({"columns": ["image"], "data": [["QUJD"]] * 100_000}, None, "got 100000"),
    "no base64": ({"columns": ["image"], "data": [["!"]]}, None, "row 0: image must be base64"),
    "a number": ({"columns": ["image"], "data": [[1]]}, None, "row 0: image must be base64"),
    "no image": ({"columns": ["image"], "data": [["QUJD"]]}, None, "row 0: the bytes are not a JPEG"),
    "unknown parameter": ({"columns": ["image"], "data": [["QUJD"]]}, {"treshold": 1}, "params.treshold"),
    "a wrong type": (
        {"columns": ["image"], "data": [["QUJD"]]},
        {"threshold": "x"},
        "threshold",
    ),
    "parameter out of range": (
        {"columns": ["image"], "data": [["QUJD"]]},
        {"threshold": 2},
        "0 and 1, got 2",
    ),
}


@pytest.mark.parametrize("fault", CONTENTS)
def test_a_request_with_a_fault_is_refused_by_name(address, good, before, fault):
    split, params, reason = CONTENTS[fault]
    body = json.dumps({"dataframe_split": split} | ({"params": params} if params else {}))
    require_named(
        requests.post(f"{address}/invocations", data=body, headers=HEADERS, timeout=60), 400, reason
    )
    assert client.score_images(address, {"a": good}) == [before]


def test_every_broken_file_of_the_zoo_is_refused_and_every_whole_one_answered(address, zoo, good, before):
    for specimen in zoo:
        if not specimen.path.is_file():
            continue
        response = client.post_images(address, {"a": good, "b": specimen.path.read_bytes()})
        if "unreadable" in specimen.reasons:
            require_named(response, 400, "1 of 2 rows refused: row 1: ")
        elif response.ok:
            assert 0 <= response.json()["predictions"][1]["probability"] <= 1
        else:
            require_named(response, 400, "row 1: the image")
        assert specimen.reasons or response.ok, specimen.name
    assert client.score_images(address, {"a": good}) == [before]


def test_more_bytes_than_allowed_together_are_refused(address, good, before):
    big = good + bytes(LIMITS["max_request_megabytes"] * 2**19)
    require_named(client.post_images(address, {"a": big, "b": big}), 400, "bytes together, at most 2,097,152")
    assert client.score_images(address, {"a": good}) == [before]


def starting(tmp_path: Path, uri: str, **changed: str) -> str:
    """What a server that does not start says."""
    process = subprocess.run(
        [str(clone.BIN / SERVE[0]), *SERVE[1:], "-m", uri, "--port", str(clone.free_port())],
        cwd=tmp_path,
        env=clone.environment(tmp_path) | mlflow_settings() | changed,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode != 0
    return process.stdout + process.stderr


def test_an_alias_that_is_missing_is_named_at_the_start(logged, store, tmp_path):
    store.create_registered_model("melanoma-none")
    text = starting(tmp_path, "models:/melanoma-none@staging")
    assert "Registered model alias staging not found" in text


def test_a_registry_that_is_down_is_named_at_the_start(tmp_path):
    address = f"http://127.0.0.1:{clone.free_port()}"
    changed = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    text = starting(tmp_path, "models:/melanoma-toy@staging", **changed)
    assert f"API request to {address}" in text
    assert "Connection refused" in text


def test_a_network_that_was_changed_keeps_the_server_from_starting(logged, tmp_path):
    import mlflow

    model = Path(mlflow.artifacts.download_artifacts(logged.uri, dst_path=str(tmp_path / "model")))
    (network,) = model.rglob("*.onnx")
    network.write_bytes(network.read_bytes() + b" ")
    assert "The network of this model was changed or damaged after it was logged" in starting(
        tmp_path, str(model)
    )


def test_outside_a_server_nothing_is_replaced(monkeypatch):
    import fastapi

    original = fastapi.FastAPI
    monkeypatch.setattr(fastapi, "FastAPI", original)  # as it was, afterwards
    monkeypatch.setitem(sys.modules, server.SERVER, SimpleNamespace())
    monkeypatch.delenv(server.MODEL_PATH, raising=False)
    server.guard(LIMITS, dict, print, {})
    assert fastapi.FastAPI is original
    monkeypatch.setenv(server.MODEL_PATH, "model")
    server.guard(LIMITS, dict, print, {})
    assert issubclass(fastapi.FastAPI, original)
    assert fastapi.FastAPI is not original


def test_an_error_of_ours_is_answered_without_its_trace():
    def broken(*request: object, **options: object) -> dict[str, list[str]]:
        raise ZeroDivisionError("/secret/path")

    body = posted({"dataframe_records": [{"image": base64.b64encode(b"x").decode()}]})
    with front(LIMITS, broken) as application:
        assert ask(application, "POST", "/invocations", body) == (
            500,
            {"error_code": "INTERNAL_ERROR", "message": "internal error, see the log of the server"},
        )


def test_below_a_prefix_of_a_proxy_requests_are_checked_too():
    with front(LIMITS, lambda *request, **options: {"image_id": []}) as application:
        assert ask(application, "POST", "/models/a/invocations", posted([]))[0] == 400
        assert ask(application, "GET", "/models/a/ping") == (200, None)
        assert ask(application, "GET", "/models/a/else")[0] == 404


def test_the_server_says_which_model_it_serves_and_what_its_operating_point_got():
    about = {"model_version": "3", "operating_point": {"warnings": ["the band was narrowed"]}}
    with front(LIMITS, dict, about) as application:
        assert ask(application, "GET", "/model") == (200, about)
        assert ask(application, "POST", "/model", posted({}))[0] == 404  # nothing to post there


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"])
def test_the_pages_of_the_framework_are_off(address, path):
    assert requests.get(f"{address}{path}", timeout=60).status_code == 404


def test_health_and_version_are_answered_as_mlflow_answers_them(address):
    import mlflow

    for path in ("/ping", "/health"):
        response = requests.get(f"{address}{path}", timeout=60)
        assert (response.status_code, response.text) == (200, "\n")
    assert requests.get(f"{address}/version", timeout=60).text == mlflow.__version__
    assert requests.get(f"{address}/invocations", timeout=60).status_code == 405


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
def test_an_encoded_body_is_refused_with_the_cure(address, good, before, encoding):
    body = gzip.compress(json.dumps(client.request_body({"a": good})).encode())
    response = requests.post(
        f"{address}/invocations", data=body, headers=HEADERS | {"content-encoding": encoding}, timeout=60
    )
    require_named(response, 415, "send it uncompressed, without this header")
    plain = json.dumps(client.request_body({"a": good}))
    named = HEADERS | {"content-encoding": "identity"}
    assert requests.post(f"{address}/invocations", data=plain, headers=named, timeout=60).ok
    assert client.score_images(address, {"a": good}) == [before]


def test_a_chunked_body_is_read_like_one_with_a_length(address, good, before):
    body = json.dumps(client.request_body({"a": good})).encode()
    parts = (body[at : at + 1000] for at in range(0, len(body), 1000))
    response = requests.post(f"{address}/invocations", data=parts, headers=HEADERS, timeout=60)
    assert response.json()["predictions"] == [before]
