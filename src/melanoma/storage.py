"""The S3 bucket of the data: it is created with versions of its objects, and its errors are explained.

Works with AWS, and with SeaweedFS, MinIO and others behind an endpoint. Keys, region and endpoint come from
the environment, as boto3 reads it, and never appear in a message. DVC moves the objects and gives access to
them, see `stages.data_versions`. boto3 is called from here only.
"""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
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

from melanoma import files
from melanoma.errors import StorageError

# An unreachable store is reported within seconds; by default boto3 retries for minutes.
CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3})
VARIABLES = (
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION and, for a store that is not AWS, "
    "AWS_ENDPOINT_URL_S3"
)


@dataclass(frozen=True)
class Store:
    """A folder of a bucket."""

    client: Any
    bucket: str
    folder: str

    def __str__(self) -> str:
        """URL and endpoint, without a login that the endpoint's URL may hold."""
        endpoint = urlsplit(self.client.meta.endpoint_url)
        host = endpoint.netloc.rpartition("@")[2]
        return f"s3://{self.bucket}/{self.folder}".rstrip("/") + f" at {endpoint.scheme}://{host}"


def connect(url: str, *, endpoint_url: str | None = None) -> Store:
    """The store at `s3://bucket/folder`; no request is sent yet.

    Args:
        url: The URL; the folder is optional.
        endpoint_url: Endpoint that replaces the one of the environment.

    Raises:
        StorageError: One of the URLs is not valid.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise StorageError(f"{url} is not a path in an S3 store. Expected s3://<bucket>/<prefix>.")
    try:
        with _explained(url):
            session = boto3.Session()  # not the shared one, which keeps the first keys it saw
            client = session.client("s3", endpoint_url=endpoint_url, config=CONFIG)
    except ValueError as error:
        raise StorageError(
            "The endpoint of the S3 store is not a URL. Set AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL to one "
            "such as http://127.0.0.1:8333; if both are unset, AWS is used."
        ) from error
    return Store(client, parts.netloc, parts.path.strip("/"))


def ensure_bucket(store: Store) -> None:
    """Create the bucket if it does not exist, and turn on versions of its objects.

    Raises:
        StorageError: The store cannot be reached, refuses, or keeps no versions.
    """
    if not _has_bucket(store):
        _create_bucket(store)
    with _explained(store):
        if not _keeps_versions(store):
            store.client.put_bucket_versioning(
                Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"}
            )
        if not _keeps_versions(store):
            raise StorageError(
                f"{store} does not keep versions of its objects. Enable versioning, or use another bucket."
            )


def require_bucket(store: Store) -> None:
    """Raise a `StorageError` where the store does not answer, refuses, or has no such bucket."""
    if not _has_bucket(store):
        raise StorageError(
            f"{store}: there is no such bucket. `make data-push` creates it; if it should exist, check the "
            "URL (`dvc remote list`) and the endpoint (AWS_ENDPOINT_URL_S3)."
        )


def keys(store: Store) -> dict[str, int]:
    """Sizes in bytes of the objects in the store's folder, by their path below it.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    prefix = f"{store.folder}/" if store.folder else ""
    with _explained(store):
        pages = store.client.get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=prefix)
        return {
            one["Key"].removeprefix(prefix): one["Size"] for page in pages for one in page.get("Contents", [])
        }


def upload(store: Store, path: Path, key: str) -> None:
    """Upload a file; the store checks its MD5.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    content = path.read_bytes()
    digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    with _explained(store):
        store.client.put_object(Bucket=store.bucket, Key=_full(store, key), Body=content, ContentMD5=digest)


def download(store: Store, key: str, path: Path) -> None:
    """Download an object.

    Raises:
        StorageError: The store cannot be reached or refuses, or has no such object.
    """
    with _explained(store):
        content = store.client.get_object(Bucket=store.bucket, Key=_full(store, key))["Body"].read()
    files.write_bytes(content, path)


def remove(store: Store, key: str, *, keep_newest: bool = False) -> None:
    """Remove an object with all of its versions, or all versions but the newest.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    full = _full(store, key)
    with _explained(store):
        pages = store.client.get_paginator("list_object_versions").paginate(Bucket=store.bucket, Prefix=full)
        for page in pages:
            for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                if one["Key"] == full and not (keep_newest and one["IsLatest"]):
                    store.client.delete_object(Bucket=store.bucket, Key=full, VersionId=one["VersionId"])
        if not keep_newest:
            store.client.delete_object(Bucket=store.bucket, Key=full)


def _full(store: Store, key: str) -> str:
    return f"{store.folder}/{key}" if store.folder else key


def _has_bucket(store: Store) -> bool:
    with _explained(store):
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
    with _explained(store), suppress(already_ours):
        store.client.create_bucket(Bucket=store.bucket, **place)


def _keeps_versions(store: Store) -> bool:
    return store.client.get_bucket_versioning(Bucket=store.bucket).get("Status") == "Enabled"


@contextmanager
def _explained(store: Store | str) -> Iterator[None]:
    """Turn errors of boto3 into a `StorageError` that says what to do."""
    try:
        yield
    except ClientError as error:
        raise StorageError(f"{store} {_explain_refusal(error)}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StorageError(
            f"The keys for {store} are missing or incomplete. Expected in the environment: {VARIABLES}."
        ) from error
    except (BotoConnectionError, HTTPClientError) as error:
        raise StorageError(
            f"{store} does not answer ({type(error).__name__}). Start the store, or set AWS_ENDPOINT_URL_S3 "
            "(or AWS_ENDPOINT_URL) to its address; if both are unset, AWS is used."
        ) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise StorageError(
            f"{store} cannot be used ({type(error).__name__}). Expected an S3 store at the endpoint, and in "
            f"the environment: {VARIABLES}."
        ) from error


def _explain_refusal(error: ClientError) -> str:
    """Explain an error response and what to do; codes and messages of S3 hold no secrets."""
    code, status = error.response.get("Error", {}).get("Code"), _status(error)
    said = f"({error.operation_name}: {status} {code})".replace(f"{status} {status}", str(status))
    if status == 403:
        return (
            f"refuses access {said}. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, their permissions, "
            "and the owner of the bucket."
        )
    if code == "BucketAlreadyExists":
        return (
            f"belongs to another account {said}. Use another: `dvc remote modify --local storage url "
            "s3://...`."
        )
    if status == 404:
        return f"does not have the requested object {said}. It was removed or never pushed."
    if status in {301, 307} or code == "AuthorizationHeaderMalformed":
        return f"is in another region {said}. Set AWS_DEFAULT_REGION to the bucket's."
    words = error.response.get("Error", {}).get("Message", "").rstrip(".")
    return (
        f"answers with an error {said}: {words}. Check the endpoint and the name of the bucket, or try later."
    )


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
