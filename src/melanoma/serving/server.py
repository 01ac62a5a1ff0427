"""Let MLflow's scoring server answer every fault of a request with its reason.

As it comes (3.17), `mlflow models serve` answers a request without content type with 500; a text/csv
body that does not fit with a stack trace and its paths; a body that is no JSON with the whole body; it drops
parameters that it does not know, and repeats the posted images in its refusals. A model cannot see such a
request. But its code is loaded in the server's process, and the server looks up the function `invocations`
of its module for every request: that function is replaced here. Everything else stays MLflow's.

What this cannot mend: the body is read whole into memory before it is refused. A proxy in front bounds it.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from mlflow.exceptions import MlflowException

from melanoma.serving import posted
from melanoma.serving.posted import RequestError

SERVER = "mlflow.pyfunc.scoring_server"
MODEL_PATH = "__pyfunc_model_path__"  # set by `mlflow models serve` for its server, and nowhere else
_log = logging.getLogger(__name__)

Answer = Callable[..., Mapping[str, Sequence[Any]]]  # of images, ids and parameters: see `scorer`
Invocations = Callable[..., Any]


def guard(limits: Mapping[str, int], answer: Answer) -> None:
    """Check requests here when this process is MLflow's scoring server; else do nothing.

    Args:
        limits: See `settings.Settings`.
        answer: Scores what may be scored.
    """
    if not is_scoring_server():
        return
    server = sys.modules[SERVER]
    server.invocations = guarded(server.InvocationsResponse, limits, answer)  # type: ignore[attr-defined]


def is_scoring_server() -> bool:
    """Whether this process is MLflow's scoring server."""
    return SERVER in sys.modules and MODEL_PATH in os.environ


def guarded(response: Callable[..., Any], limits: Mapping[str, int], answer: Answer) -> Invocations:
    """What stands in for `invocations` of the scoring server.

    Args:
        response: `InvocationsResponse`, made of text, status and content type.
        limits: See `settings.Settings`.
        answer: Scores what may be scored. It is asked directly: MLflow's way there, through tables, takes
            as long as a forward pass of one image.
    """

    def invocations(data: bytes, content_type: str | None, _model: Any, _input_schema: Any) -> Any:
        status, content = _respond(data, content_type, limits, answer)
        return response(json.dumps(content), status, posted.JSON)

    return invocations


def _respond(
    body: bytes, content_type: str | None, limits: Mapping[str, int], answer: Answer
) -> tuple[int, dict[str, Any]]:
    """HTTP status and JSON object."""
    try:
        request = posted.parse(body, content_type, limits)
        columns = answer(request.images, request.image_ids, request.params)
        rows = zip(*columns.values(), strict=True)
        return HTTPStatus.OK, {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}
    except RequestError as error:
        return error.status, _refusal("BAD_REQUEST", str(error))
    except MlflowException as error:
        if error.get_http_status_code() < HTTPStatus.INTERNAL_SERVER_ERROR:
            return error.get_http_status_code(), _refusal(error.error_code, str(error))
        _log.exception("a request could not be answered")
    except Exception:  # whatever it is, its trace belongs into the log and not into the answer
        _log.exception("a request could not be answered")
    return HTTPStatus.INTERNAL_SERVER_ERROR, _refusal("INTERNAL_ERROR", "see the log of the server")


def _refusal(code: str, message: str) -> dict[str, Any]:
    """In the form of MLflow's own errors."""
    return {"error_code": code, "message": message}
