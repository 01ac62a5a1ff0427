"""The public API of the ISIC Archive: searches over all pages, and records as rows of a table.

`GET images/search/?query=…&collections=…&limit=…` answers `{count, next, results}`, with `count` on the first
page only. `GET images/<isic_id>/` answers one record with a fresh signed URL. The server is not trusted:
types and ids are checked, and `next` is followed on the same host only.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urljoin, urlsplit

import pandas as pd
import requests
from pydantic import BaseModel, Field, ValidationError
from tqdm import tqdm

from melanoma.data.images import MAX_PIXELS
from melanoma.data.sources.connection import Connection, DownloadError
from melanoma.data.sources.downloads import RemoteFile
from melanoma.data.sources.translation import IMAGE_TYPE, value_of
from melanoma.errors import DataError
from melanoma.schema import DERMOSCOPIC

LICENCES = ("CC-0", "CC-BY", "CC-BY-NC")
MAX_FILE_BYTES = 4 * MAX_PIXELS  # more than an uncompressed picture of the maximum size has
# Columns that this module writes; values of a record with these names are ignored.
LEADING_COLUMNS = ("image_id", "attribution", "copyright_license", "collections")
RESERVED_COLUMNS = (*LEADING_COLUMNS, "isic_id", "image_file", "mask_file", "file_sha256")

LATER = "Run the same command again later: finished downloads are kept."
CHECK_ADDRESS = "Check fetch.api_url in params.yaml."
HINT_OF_STATUS = {
    400: "Correct --query.",
    401: "Leave out collections that need a login.",
    403: "Leave out collections that need a login.",
    404: CHECK_ADDRESS,
    429: LATER,
    **dict.fromkeys((500, 502, 503, 504), LATER),
}


class ArchiveFile(BaseModel):
    """Address and size of a file."""

    url: Annotated[str, Field(pattern="^https?://")]
    size: Annotated[int, Field(gt=0, le=MAX_FILE_BYTES)]


class Files(BaseModel):
    """Files of an image; thumbnails are ignored."""

    full: ArchiveFile


class Metadata(BaseModel):
    """Values by name; the names differ from record to record."""

    acquisition: dict[str, Any] = {}
    clinical: dict[str, Any] = {}


class ArchiveImage(BaseModel):
    """A record of the archive."""

    isic_id: Annotated[str, Field(pattern="^ISIC_[0-9]{7}$")]  # becomes a file name
    public: bool
    copyright_license: str | None = None
    attribution: str | None = None
    files: Files
    metadata: Metadata


class Page(BaseModel):
    """An answer to a search."""

    count: int | None = None
    next: str | None = None
    results: list[dict[str, Any]]


@dataclass(frozen=True)
class Selection:
    """Which images to download: public ones that match all attributes.

    Images of a stated type other than dermoscopic are left out, because `validate` would quarantine them. An
    unstated type is accepted.

    Attributes:
        query: Query in the archive's search language; blank matches all.
        collections: Collection ids, of which an image must be in at least one; none matches the whole
            archive.
        licences: Names from `LICENCES`; none matches all.
        limit: Maximum number of images; `None` is no limit.
    """

    query: str = ""
    collections: tuple[int, ...] = ()
    licences: tuple[str, ...] = ()
    limit: int | None = None


@dataclass
class Findings:
    """The images that match a selection.

    Attributes:
        images: Images to download, by id.
        collections: The selected collections in which each image was found, by id.
        left_out: Number of images that are not downloaded, by reason.
        failures: Reason by id of records that cannot be used.
        num_unlisted: Number of images that the archive counts but lists on no page.
    """

    images: dict[str, ArchiveImage] = field(default_factory=dict)
    collections: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    num_unlisted: int = 0


class Search:
    """Iterates over the records of one search, each once, page by page."""

    def __init__(self, connection: Connection, query: str, collection: int | None) -> None:
        """Request nothing before the first record is taken."""
        self._connection = connection
        self._url = _search_url(connection.settings.api_url, query, collection, connection.settings.page_size)
        self._seen: set[str] = set()
        self._count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the records; raise a `DataError` that names the page which cannot be read."""
        url: str | None = self._url
        with tqdm(desc="search", unit="image", disable=None) as progress:
            while url:
                page = _read_page(self._connection, url)
                self._count = progress.total = self._count or page.count or 0
                # The archive may change meanwhile, so that an image comes twice.
                new = {str(record.get("isic_id")): record for record in page.results}
                new = {isic_id: record for isic_id, record in new.items() if isic_id not in self._seen}
                if page.next and not new:
                    raise DataError(f"{url} lists no new image but names a next page. {LATER}")
                self._seen.update(new)
                progress.update(len(new))
                yield from new.values()
                url = _next_url(page.next, url, self._connection.settings.api_url)

    @property
    def num_unlisted(self) -> int:
        """Number of announced images that did not come, once all pages are read."""
        return max(0, self._count - len(self._seen))


def find_images(connection: Connection, selection: Selection) -> Findings:
    """Find all images that match `selection`.

    Each collection is searched separately, because a record does not name its collections. With a limit,
    reading stops as soon as enough images are found.

    Raises:
        DataError: A page cannot be read, is no page of this API, or names a next page on another host.
    """
    findings = Findings()
    for collection in selection.collections or (None,):
        search = Search(connection, selection.query, collection)
        for record in search:
            _sort_in(record, findings, selection.licences, collection)
            if len(findings.images) == selection.limit:
                return findings
        findings.num_unlisted += search.num_unlisted
    return findings


def _sort_in(
    record: dict[str, Any], findings: Findings, licences: tuple[str, ...], collection: int | None
) -> None:
    isic_id = str(record.get("isic_id"))
    is_new = isic_id not in findings.collections
    members = findings.collections.setdefault(isic_id, [])
    if collection is not None:
        members.append(str(collection))
    if not is_new:
        return
    try:
        image = ArchiveImage.model_validate(record)
    except ValidationError as error:
        shown = ascii(isic_id)[1:-1][:40]  # may be anything, and is printed
        findings.failures[shown] = f"record unusable ({_first_fault(error)})"
        return
    if reason := _reason_to_leave_out(image, licences):
        findings.left_out[reason] += 1
    else:
        findings.images[isic_id] = image


def _reason_to_leave_out(image: ArchiveImage, licences: tuple[str, ...]) -> str | None:
    if not image.public:
        return "not public"
    stated = image.metadata.acquisition.get("image_type")
    if stated is not None and value_of(str(stated), IMAGE_TYPE) not in (DERMOSCOPIC, None):
        return "not dermoscopic"
    if licences and image.copyright_license not in licences:
        return "with another licence"
    return None


def _search_url(api_url: str, query: str, collection: int | None, page_size: int) -> str:
    wanted = {"query": query or None, "collections": collection, "limit": page_size}
    return str(requests.Request("GET", urljoin(api_url, "images/search/"), params=wanted).prepare().url)


def _read_page(connection: Connection, url: str) -> Page:
    try:
        return Page.model_validate(connection.get_json(url))
    except DownloadError as error:
        hint = "Check the network, a proxy (HTTPS_PROXY) and fetch.api_url in params.yaml."
        if error.response is not None:
            hint = HINT_OF_STATUS.get(error.response.status_code, CHECK_ADDRESS)
        raise DataError(f"The archive's answer cannot be used. {url}: {error}. {hint}") from error
    except ValidationError as error:
        raise DataError(
            f"{url} is not a page of search results ({_first_fault(error)}); expected the keys count, next "
            f"and results. {CHECK_ADDRESS}"
        ) from error


def _next_url(following: str | None, url: str, api_url: str) -> str | None:
    """Address of the next page, on the same host only: a query must not be sent to other hosts."""
    if following is None:
        return None
    following = urljoin(url, following)
    if urlsplit(following)[:2] != urlsplit(api_url)[:2]:
        raise DataError(
            f"{url} names a next page on another host: {following}. Expected one at {api_url}. "
            f"{CHECK_ADDRESS}"
        )
    return following


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'answer'}: {fault['msg']}"


def remote_file(image: ArchiveImage) -> RemoteFile:
    """The picture of a record."""
    return RemoteFile(image.isic_id, image.files.full.url, image.files.full.size)


def renew(connection: Connection, isic_id: str) -> RemoteFile:
    """Ask for a fresh signed URL of an image.

    Raises:
        DownloadError: The record does not exist, or is that of another image.
    """
    record = connection.get_json(urljoin(connection.settings.api_url, f"images/{isic_id}/"))
    try:
        image = ArchiveImage.model_validate(record)
    except ValidationError as error:
        raise DownloadError(f"record unusable ({_first_fault(error)})") from error
    if image.isic_id != isic_id:
        raise DownloadError(f"received the record of {image.isic_id}")
    return remote_file(image)


def tabulate(findings: Findings) -> pd.DataFrame:
    """One row per image, ordered by id, with the columns of the archive's CSV export as strings.

    Column `collections` names the selected collections in which the image was found.
    """
    rows = [_flatten(image, findings.collections[isic_id]) for isic_id, image in findings.images.items()]
    others = sorted({name for row in rows for name in row} - set(LEADING_COLUMNS))
    table = pd.DataFrame(rows, columns=[*LEADING_COLUMNS, *others], dtype="string")
    return table.sort_values("image_id", ignore_index=True)


def _flatten(image: ArchiveImage, collections: list[str]) -> dict[str, str | None]:
    values = {**image.metadata.acquisition, **image.metadata.clinical}
    return {
        **{
            name: None if value is None else str(value)
            for name, value in values.items()
            if name not in RESERVED_COLUMNS
        },
        "image_id": image.isic_id,
        "attribution": image.attribution,
        "copyright_license": image.copyright_license,
        "collections": ", ".join(collections) or None,
    }
