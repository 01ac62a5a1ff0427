"""Against a real store (SeaweedFS); what it cannot be made to answer comes from botocore's own stub."""

import http.server
import threading
from contextlib import contextmanager

import pytest
from botocore.stub import Stubber

from melanoma import storage
from melanoma.errors import StorageError
from tests.end_to_end.clone import free_port
from tests.s3 import KEYS

slow = pytest.mark.slow  # the store takes some seconds to start


def versioning(client, bucket):
    return client.get_bucket_versioning(Bucket=bucket).get("Status")


def test_the_place_is_read_from_the_url(no_s3_settings):
    store = storage.connect("s3://bucket/a/b/", endpoint_url="http://127.0.0.1:8333")
    assert (store.bucket, store.folder) == ("bucket", "a/b")
    assert str(store) == "s3://bucket/a/b at http://127.0.0.1:8333"
    assert storage.connect("s3://bucket").folder == ""


@pytest.mark.parametrize(
    "url", ["/srv/data", "ssh://host/data", "https://host/bucket", "s3:///data", "bucket"]
)
def test_another_url_is_refused(url, no_s3_settings):
    with pytest.raises(StorageError, match=r"Expected s3://<bucket>/<prefix>"):
        storage.connect(url)


def test_endpoint_and_region_come_from_the_environment(no_s3_settings, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert "eu-central-1.amazonaws.com" in str(storage.connect("s3://bucket"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert str(storage.connect("s3://bucket")).endswith(" at http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:2")
    assert str(storage.connect("s3://bucket")).endswith(" at http://127.0.0.1:2")


def test_an_endpoint_that_is_no_url_is_refused(no_s3_settings, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "127.0.0.1:8333")
    with pytest.raises(StorageError, match=r"not a URL.*such as http://127\.0\.0\.1:8333"):
        storage.connect("s3://bucket")


def test_a_login_in_the_endpoint_is_not_shown(no_s3_settings):
    store = storage.connect("s3://bucket", endpoint_url="http://me:my-password@127.0.0.1:8333")
    assert str(store) == "s3://bucket at http://127.0.0.1:8333"


@slow
def test_a_new_bucket_keeps_old_versions(s3, new_bucket):
    storage.ensure_bucket(storage.connect(f"s3://{new_bucket}/some/folder"))
    assert versioning(s3.client, new_bucket) == "Enabled"


@slow
def test_a_bucket_that_exists_stays_and_gets_versions(s3, new_bucket):
    s3.client.create_bucket(Bucket=new_bucket)
    s3.client.put_object(Bucket=new_bucket, Key="old", Body=b"old")
    assert versioning(s3.client, new_bucket) is None
    for _ in range(2):
        storage.ensure_bucket(storage.connect(f"s3://{new_bucket}"))
        assert versioning(s3.client, new_bucket) == "Enabled"
    assert s3.client.get_object(Bucket=new_bucket, Key="old")["Body"].read() == b"old"


@slow
def test_a_bucket_that_does_not_exist_is_named_and_not_made(s3, new_bucket):
    store = storage.connect(f"s3://{new_bucket}/dvc")
    with pytest.raises(StorageError, match=f"{new_bucket}.*no such bucket.*make data-push"):
        storage.require_bucket(store)
    storage.ensure_bucket(store)
    storage.require_bucket(store)


def test_a_store_that_is_down_is_named(s3_keys):
    port = free_port()
    s3_keys.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    store = storage.connect("s3://bucket/dvc")
    with pytest.raises(
        StorageError, match=rf"127\.0\.0\.1:{port} does not answer.*Start the store, or set AWS_END"
    ):
        storage.ensure_bucket(store)


@pytest.fixture
def s3_keys(no_s3_settings, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@contextmanager
def web_server(page):
    """Something that answers, but speaks no S3."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize("page", [b"Welcome!", b"<html><p>Welcome!", b"<unfinished", b""])
def test_a_server_that_speaks_no_s3_is_named(page, s3_keys):
    with web_server(page) as url:
        store = storage.connect("s3://bucket", endpoint_url=url)
        with pytest.raises(StorageError, match=f"{url} answers with an error .*Check the endpoint"):
            storage.ensure_bucket(store)


@slow
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_refused_without_being_shown(name, s3, new_bucket, monkeypatch):
    monkeypatch.setenv(name, "not-the-right-one")
    with pytest.raises(
        StorageError, match=r"refuses access \(HeadBucket: 403\)\. Check AWS_ACCESS_KEY_ID"
    ) as refusal:
        storage.ensure_bucket(storage.connect(f"s3://{new_bucket}"))
    assert "not-the-right-one" not in str(refusal.value)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(refusal.value)


@pytest.mark.parametrize("given", [(), ("AWS_ACCESS_KEY_ID",), ("AWS_SECRET_ACCESS_KEY",)])
def test_keys_that_are_not_set_are_named(given, no_s3_settings, monkeypatch):
    for name in given:
        monkeypatch.setenv(name, KEYS[name])
    expected = "Expected in the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION"
    with pytest.raises(StorageError, match=expected):
        storage.ensure_bucket(storage.connect("s3://bucket", endpoint_url="http://127.0.0.1:1"))


@pytest.fixture
def stub(s3_keys):
    """A place at AWS whose answers the test writes."""
    store = storage.connect("s3://bucket")
    with Stubber(store.client) as stubber:
        yield store, stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        (
            "AccessDenied",
            403,
            r"refuses access \(PutBucketVersioning: 403 AccessDenied\).*owner of the bucket",
        ),
        ("PermanentRedirect", 301, "is in another region.*Set AWS_DEFAULT_REGION"),
        ("AuthorizationHeaderMalformed", 400, "is in another region.*Set AWS_DEFAULT_REGION"),
        ("SlowDown", 503, r"answers with an error \(PutBucketVersioning: 503 SlowDown\): in its own words"),
    ],
)
def test_an_answer_of_the_store_says_what_to_do(code, status, message, stub):
    store, stubber = stub
    stubber.add_response("head_bucket", {})
    stubber.add_response("get_bucket_versioning", {})
    stubber.add_client_error("put_bucket_versioning", code, "in its own words", http_status_code=status)
    with pytest.raises(StorageError, match=message):
        storage.ensure_bucket(store)


def test_a_name_that_somebody_else_has_taken_is_said(stub):
    store, stubber = stub
    stubber.add_client_error("head_bucket", "404", http_status_code=404)
    stubber.add_client_error("create_bucket", "BucketAlreadyExists", http_status_code=409)
    with pytest.raises(
        StorageError, match=r"belongs to another account.*dvc remote modify --local storage url"
    ):
        storage.ensure_bucket(store)


def test_a_bucket_that_another_of_the_same_account_made_meanwhile_is_used(stub):
    store, stubber = stub
    stubber.add_client_error("head_bucket", "404", http_status_code=404)
    stubber.add_client_error("create_bucket", "BucketAlreadyOwnedByYou", http_status_code=409)
    stubber.add_response("get_bucket_versioning", {"Status": "Enabled"})
    stubber.add_response("get_bucket_versioning", {"Status": "Enabled"})
    storage.ensure_bucket(store)


def test_a_store_that_keeps_no_versions_is_refused(stub):
    store, stubber = stub
    stubber.add_response("head_bucket", {})
    stubber.add_response("get_bucket_versioning", {})
    stubber.add_response("put_bucket_versioning", {})
    stubber.add_response("get_bucket_versioning", {})
    with pytest.raises(StorageError, match="does not keep versions"):
        storage.ensure_bucket(store)


@pytest.mark.parametrize(
    ("region", "place"),
    [
        ("us-east-1", {}),
        ("eu-central-1", {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}),
    ],
)
def test_a_bucket_is_made_in_the_region_of_the_environment(region, place, s3_keys):
    s3_keys.setenv("AWS_DEFAULT_REGION", region)
    store = storage.connect("s3://bucket")
    with Stubber(store.client) as stubber:
        stubber.add_client_error("head_bucket", "404", http_status_code=404)
        stubber.add_response("create_bucket", {}, {"Bucket": "bucket"} | place)
        stubber.add_response("get_bucket_versioning", {"Status": "Enabled"})
        stubber.add_response("get_bucket_versioning", {"Status": "Enabled"})
        storage.ensure_bucket(store)
        stubber.assert_no_pending_responses()
