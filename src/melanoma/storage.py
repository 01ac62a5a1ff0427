"""The object store: buckets that keep versions, files whose checksums are compared on both ways.

Any S3 will do: AWS, or SeaweedFS, MinIO and others behind an endpoint of their own. Keys, region and
endpoint come from the environment, as boto3 reads it, and never appear in a message. boto3 is called from
here only.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError
from tqdm import tqdm

from melanoma import files, fingerprint
from melanoma.errors import StorageError

# A store that is down shall be named within seconds; boto3 alone would wait and try for minutes.
CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3})
CHUNK_BYTES = 1 << 20
SHA256_KEY = "sha256"  # of an object's metadata
VARIABLES = (
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION and, for a store that is not AWS, "
    "AWS_ENDPOINT_URL_S3"
)


@dataclass(frozen=True)
class Store:
    """A folder of a bucket. Names of objects begin after `prefix`, which is empty or ends with a slash."""

    client: Any
    bucket: str
    prefix: str

    def __str__(self) -> str:
        """The URL and where it is, without a login that the endpoint's URL may hold."""
        endpoint = urlsplit(self.client.meta.endpoint_url)
        host = endpoint.netloc.rpartition("@")[2]
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + f" at {endpoint.scheme}://{host}"

    def at(self, name: str) -> dict[str, str]:
        """How boto3 wants an object to be named."""
        return {"Bucket": self.bucket, "Key": self.prefix + name}


class StoredObject(NamedTuple):
    """What a listing tells of an object; for most, the ETag is the MD5 of the bytes."""

    etag: str
    num_bytes: int


def connect(url: str, *, endpoint_url: str | None = None) -> Store:
    """The store at `s3://bucket/prefix`. Asks nothing of the network yet.

    Args:
        url: The prefix may be left out.
        endpoint_url: Goes before the environment's.

    Raises:
        StorageError: `url` is no such URL, or the endpoint's is none.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise StorageError(f"{url} is no place in an S3 store. Expected s3://<bucket>/<prefix>.")
    try:
        with _clear_errors(url):
            session = boto3.Session()  # not the shared one, which keeps the first keys it saw
            client = session.client("s3", endpoint_url=endpoint_url, config=CONFIG)
    except ValueError as error:
        raise StorageError(
            "The endpoint of the S3 store is no URL. Expected in AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL "
            "one such as http://127.0.0.1:8333; unset, AWS is asked."
        ) from error
    prefix = parts.path.strip("/")
    return Store(client, parts.netloc, f"{prefix}/" if prefix else "")


def ensure_bucket(store: Store) -> None:
    """Make the bucket where it does not exist, and let it keep old versions of its objects.

    Raises:
        StorageError: The store cannot be reached, refuses, or keeps no versions.
    """
    if not _has_bucket(store):
        _create_bucket(store)
    with _clear_errors(store):
        if not _keeps_versions(store):
            store.client.put_bucket_versioning(
                Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"}
            )
        if not _keeps_versions(store):
            raise StorageError(f"{store} keeps no versions of its objects. Use a store or bucket that does.")


def require_bucket(store: Store) -> None:
    """Raise a `StorageError` where the store does not answer, refuses, or has no such bucket."""
    if not _has_bucket(store):
        raise StorageError(
            f"{store}: there is no such bucket. `make data-push` makes it; if it should be there, check the "
            "URL (`dvc remote list`) and the endpoint (AWS_ENDPOINT_URL_S3)."
        )


def _has_bucket(store: Store) -> bool:
    with _clear_errors(store):
        try:
            store.client.head_bucket(Bucket=store.bucket)
        except ClientError as error:
            if _status(error) == 404:
                return False
            raise
    return True


def _create_bucket(store: Store) -> None:
    region = store.client.meta.region_name
    # us-east-1 is where buckets are made unless told; AWS refuses to be told so.
    is_default = region in {None, "aws-global", "us-east-1"}
    place = {} if is_default else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    already_ours = store.client.exceptions.BucketAlreadyOwnedByYou  # made by another since we looked
    with _clear_errors(store), suppress(already_ours):
        store.client.create_bucket(Bucket=store.bucket, **place)


def _keeps_versions(store: Store) -> bool:
    return store.client.get_bucket_versioning(Bucket=store.bucket).get("Status") == "Enabled"


def upload(store: Store, path: Path, name: str) -> None:
    """Put a file into the store and make sure that the store holds the same bytes.

    The store checks what arrives, part by part. Afterwards its own SHA-256 of the object is compared with
    the file's; where it gives none for the whole (large objects, older stores), the object is read back.

    Raises:
        StorageError: What lies there is not what was sent, or the store fails.
    """
    digest = fingerprint.sha256_of_file(path)
    options = {"ChecksumAlgorithm": "SHA256", "Metadata": {SHA256_KEY: digest}}
    with path.open("rb") as stream, _clear_errors(store):
        store.client.upload_fileobj(stream, **store.at(name), ExtraArgs=options)
        stored = _stored_sha256(store, name)
    if stored != digest:
        raise StorageError(
            f"{path} was sent to {store}, but {name} has other bytes there: SHA-256 {stored}, expected "
            f"{digest}. Upload it again; if that does not help, the store is faulty."
        )


def _stored_sha256(store: Store, name: str) -> str:
    """The store's SHA-256 of the whole object, else that of its bytes as they come back."""
    checksum = store.client.head_object(**store.at(name), ChecksumMode="ENABLED").get("ChecksumSHA256")
    if checksum and "-" not in checksum:  # with a dash it is one of the parts' checksums
        return base64.b64decode(checksum).hex()
    return _digest_of_object(store, name, hashlib.sha256())


def download(store: Store, name: str, path: Path, *, md5: str | None = None) -> None:
    """Fetch an object to `path`, whole and with the right checksum or not at all.

    The checksum is `md5` where one is given, else the SHA-256 that `upload` left with the object.

    Raises:
        StorageError: There is no such object, its bytes are others, or it has no checksum to compare with.
    """
    with files.atomic_file(path) as unfinished:
        with _clear_errors(store), unfinished.open("wb") as stream:
            noted = store.client.head_object(**store.at(name))["Metadata"].get(SHA256_KEY)
            store.client.download_fileobj(**store.at(name), Fileobj=stream)
        expected = md5 or noted
        if expected is None:
            raise StorageError(f"{name} in {store} carries no checksum. Upload it with melanoma.storage.")
        found = md5_of_file(unfinished) if md5 else fingerprint.sha256_of_file(unfinished)
        if found != expected:
            raise StorageError(
                f"{name} in {store} is damaged: its checksum is {found}, expected {expected}. Upload it "
                "again from where it is whole; the bucket may hold an older version of it."
            )


def list_objects(store: Store, folder: str = "") -> dict[str, StoredObject]:
    """All objects whose names begin with `folder`, by name.

    Raises:
        StorageError: The store fails.
    """
    pages = store.client.get_paginator("list_objects_v2").paginate(
        Bucket=store.bucket, Prefix=store.prefix + folder
    )
    with _clear_errors(store):
        return {
            item["Key"].removeprefix(store.prefix): StoredObject(item["ETag"].strip('"'), item["Size"])
            for page in pages
            for item in page.get("Contents", [])
        }


def find_faults(store: Store, md5s: Mapping[str, str], *, folder: str = "") -> dict[str, str]:
    """Which objects are `missing` or `damaged`, by name.

    An ETag that is the expected MD5 settles it. Another one proves nothing (an object that came in parts or
    is encrypted has an ETag of another kind), so those objects are read and hashed.

    Args:
        store: Where to look.
        md5s: The MD5 that each object must have, by name.
        folder: All names begin with it.
    """
    stored = list_objects(store, folder)
    missing = dict.fromkeys(set(md5s) - set(stored), "missing")
    unsettled = [name for name in md5s if name in stored and stored[name].etag != md5s[name]]
    damaged = {}
    for name in tqdm(unsettled, desc="Reading back", unit="object", disable=None):
        with _clear_errors(store):
            if _digest_of_object(store, name, hashlib.md5(usedforsecurity=False)) != md5s[name]:
                damaged[name] = "damaged"
    return missing | damaged


def md5_of_file(path: Path) -> str:
    """Hex digest by which DVC names an object and S3 tags it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _digest_of_object(store: Store, name: str, digest: Any) -> str:
    body = store.client.get_object(**store.at(name))["Body"]
    for chunk in body.iter_chunks(CHUNK_BYTES):
        digest.update(chunk)
    return str(digest.hexdigest())


@contextmanager
def _clear_errors(store: Store | str) -> Iterator[None]:
    """Errors of boto3 become a `StorageError` that says what to do."""
    try:
        yield
    except ClientError as error:
        raise StorageError(f"{store} {_explain_refusal(error)}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StorageError(
            f"No keys for {store}, or only one of two. Expected in the environment: {VARIABLES}."
        ) from error
    except (BotoConnectionError, HTTPClientError) as error:
        raise StorageError(
            f"{store} does not answer ({type(error).__name__}). Start the store, or set "
            "AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) to where it listens; unset, AWS is asked."
        ) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise StorageError(
            f"{store} cannot be used ({type(error).__name__}). Expected an S3 store there, and in the "
            f"environment: {VARIABLES}."
        ) from error


def _explain_refusal(error: ClientError) -> str:
    """What an answer of the store means and what to do; codes and messages of S3 hold no secrets."""
    code, status = error.response.get("Error", {}).get("Code"), _status(error)
    said = f"({error.operation_name}: {status} {code})".replace(f"{status} {status}", str(status))
    if status == 403:
        return (
            f"refuses {said}. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, that they may do this, and "
            "that the bucket is not somebody else's."
        )
    if code == "BucketAlreadyExists":
        return f"belongs to somebody else {said}. Take another: `dvc remote modify --local storage url s3://...`."
    if status == 404:
        return f"lacks what was asked for {said}. It was removed, or never pushed there."
    if status in {301, 307} or code == "AuthorizationHeaderMalformed":
        return f"lies in another region {said}. Set AWS_DEFAULT_REGION to the bucket's."
    words = error.response.get("Error", {}).get("Message", "").rstrip(".")
    return f"answers with an error {said}: {words}. Check endpoint and name of the bucket, or try later."


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
