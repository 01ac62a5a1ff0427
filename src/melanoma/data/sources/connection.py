"""One GET at a time over HTTP, tried again after faults that may pass; one session a thread.

The loop is our own because the body counts too: a transfer that is cut, a size that differs, a picture
that does not decode. How often to try and how long to wait is urllib3's `Retry`, which knows Retry-After.
"""

import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from urllib3.exceptions import MaxRetryError, ProtocolError
from urllib3.util import Retry

from melanoma.config.data import Fetch
from melanoma.errors import DataError

T = TypeVar("T")

PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
CHUNK_BYTES = 1 << 16
MAX_JSON_BYTES = 1 << 26  # a page of 100 records has about 0.2 MB


class DownloadError(DataError):
    """A request that did not end well; the message is the reason, without the URL.

    Attributes:
        may_pass: The same request may end better later.
        response: What the server answered; `None` when it did not.
    """

    def __init__(
        self, reason: str, *, may_pass: bool = False, response: requests.Response | None = None
    ) -> None:
        """`reason` is for people; see the class for the rest."""
        super().__init__(reason)
        self.may_pass = may_pass
        self.response = response

    @property
    def status(self) -> int | None:
        """The HTTP status, if there was an answer."""
        return None if self.response is None else self.response.status_code


class Connection:
    """GET requests under the limits of `fetch` in params.yaml; may be shared by threads."""

    def __init__(self, settings: Fetch) -> None:
        """No connection is opened before the first `get`."""
        self.settings = settings
        self._local = threading.local()  # sessions of requests are not safe to share

    def get(
        self,
        url: str,
        accept: Callable[[bytes, str], T],
        *,
        max_bytes: int,
        follow_redirects: bool = False,
    ) -> T:
        """What `accept` makes of the body and its content type.

        Args:
            url: An http or https address.
            accept: Raises a `DownloadError` for a body that is not what was asked for.
            max_bytes: A longer body is a fault; no more is read.
            follow_redirects: Also to other hosts.

        Raises:
            DownloadError: The last fault, when it cannot pass or all tries are used up.
        """
        retries = self._retries()
        while True:
            try:
                return accept(*self._read(url, max_bytes, follow_redirects))
            except DownloadError as error:
                if not error.may_pass:
                    raise
                fault = error
            retries = self._count_down(retries, fault)
            retries.sleep(None if fault.response is None else fault.response.raw)

    def get_json(self, url: str) -> Any:
        """The body of `url` as JSON; redirects are not followed.

        Raises:
            DownloadError: As for `get`, and for a body that is no JSON.
        """
        return self.get(url, _parse_json, max_bytes=MAX_JSON_BYTES)

    def _retries(self) -> Retry:
        return Retry(
            total=self.settings.num_retries,
            backoff_factor=self.settings.backoff_seconds,
            backoff_max=self.settings.max_wait_seconds,
            retry_after_max=self.settings.max_wait_seconds,  # a server may ask for hours
        )

    def _count_down(self, retries: Retry, fault: DownloadError) -> Retry:
        try:
            return retries.increment("GET", error=fault)
        except MaxRetryError:
            num_tries = self.settings.num_retries + 1
            raise DownloadError(f"{fault} (tried {num_tries} times)", response=fault.response) from None

    def _read(self, url: str, max_bytes: int, follow_redirects: bool) -> tuple[bytes, str]:
        try:
            with self._session().get(
                url, stream=True, timeout=self.settings.timeout_seconds, allow_redirects=follow_redirects
            ) as response:
                _require_success(response)
                return _read_body(response, max_bytes), response.headers.get("Content-Type", "no known type")
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ) as error:
            raise DownloadError(_cause(error), may_pass=True) from error
        except requests.RequestException as error:
            raise DownloadError(str(error)) from error

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        return self._local.session


def _require_success(response: requests.Response) -> None:
    status = response.status_code
    if status != 200:
        raise DownloadError(
            f"HTTP {status} {response.reason}", may_pass=status in PASSING_STATUSES, response=response
        )


def _read_body(response: requests.Response, max_bytes: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise DownloadError(f"more than {max_bytes} bytes came", may_pass=True)
    return bytes(body)


def _parse_json(content: bytes, content_type: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise DownloadError(f"the answer is no JSON but {content_type}") from error


def _cause(error: requests.RequestException) -> str:
    """The innermost reason: requests wraps urllib3's errors, which wrap those of the system."""
    inner = error.args[0] if error.args else error
    reason = getattr(inner, "reason", inner)
    if isinstance(reason, ProtocolError):
        return "the connection was cut"
    return str(reason).rsplit(": ", 1)[-1]
