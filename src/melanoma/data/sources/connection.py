"""HTTP GET requests that are repeated after transient faults, with one session per thread.

The loop is our own because faults of the body count too: a cut transfer, another size, a picture that does
not decode. urllib3's `Retry` counts the retries and computes the waits, and obeys Retry-After.
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

TRANSIENT_STATUSES = (408, 429, 500, 502, 503, 504)
CHUNK_BYTES = 1 << 16
MAX_JSON_BYTES = 1 << 26  # a page of 100 records has about 0.2 MB


class DownloadError(DataError):
    """A failed request; the message is the reason, without the URL.

    Attributes:
        is_transient: Whether the same request may succeed later.
        response: Answer of the server; `None` if there was none.
        status: HTTP status of the answer; `None` if there was none.
    """

    def __init__(
        self, reason: str, *, is_transient: bool = False, response: requests.Response | None = None
    ) -> None:
        """See the class; `reason` is the message."""
        super().__init__(reason)
        self.is_transient = is_transient
        self.response = response
        self.status = None if response is None else response.status_code


class Connection:
    """GET requests with the retries, waits and timeout of section `fetch`; may be shared by threads."""

    def __init__(self, settings: Fetch) -> None:
        """Open nothing yet."""
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
        """Get `url` and return what `accept` makes of the body and its content type.

        Args:
            url: An http or https address.
            accept: Raises a `DownloadError` if the body is not what was asked for.
            max_bytes: Maximum length of the body; no more is read.
            follow_redirects: Whether to follow redirects, to other hosts too.

        Raises:
            DownloadError: The last fault, if it is not transient or no retries are left.
        """
        settings = self.settings
        retries = Retry(
            total=settings.num_retries,
            backoff_factor=settings.backoff_seconds,
            backoff_max=settings.max_wait_seconds,
            retry_after_max=settings.max_wait_seconds,  # a server may ask for hours
        )
        while True:
            try:
                return accept(*self._read(url, max_bytes, follow_redirects))
            except DownloadError as error:
                if not error.is_transient:
                    raise
                fault = error
            try:
                retries = retries.increment("GET", error=fault)
            except MaxRetryError:
                num_tries = settings.num_retries + 1
                raise DownloadError(f"{fault} (tried {num_tries} times)", response=fault.response) from None
            retries.sleep(None if fault.response is None else fault.response.raw)

    def get_json(self, url: str) -> Any:
        """Get `url` as JSON without following redirects; errors as for `get`, or the body is no JSON."""
        return self.get(url, _parse_json, max_bytes=MAX_JSON_BYTES)

    def _read(self, url: str, max_bytes: int, follow_redirects: bool) -> tuple[bytes, str]:
        try:
            with self._session().get(
                url, stream=True, timeout=self.settings.timeout_seconds, allow_redirects=follow_redirects
            ) as response:
                if response.status_code != 200:
                    is_transient = response.status_code in TRANSIENT_STATUSES
                    reason = f"HTTP {response.status_code} {response.reason}"
                    raise DownloadError(reason, is_transient=is_transient, response=response)
                return _read_body(response, max_bytes), response.headers.get(
                    "Content-Type", "an unknown type"
                )
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ) as error:
            raise DownloadError(_cause(error), is_transient=True) from error
        except requests.RequestException as error:
            raise DownloadError(str(error)) from error

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        return self._local.session


def _read_body(response: requests.Response, max_bytes: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise DownloadError(f"the answer has more than {max_bytes} bytes", is_transient=True)
    return bytes(body)


def _parse_json(content: bytes, content_type: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise DownloadError(f"expected JSON, received {content_type}") from error


def _cause(error: requests.RequestException) -> str:
    """The innermost reason: requests wraps urllib3's errors, which wrap those of the system."""
    inner = error.args[0] if error.args else error
    reason = getattr(inner, "reason", inner)
    if isinstance(reason, ProtocolError):
        return "the connection was lost"
    return str(reason).rsplit(": ", 1)[-1]
