import re

import pytest

from melanoma.data.sources import isic_api
from melanoma.data.sources.connection import Connection, DownloadError
from melanoma.data.sources.isic_api import Selection
from melanoma.errors import DataError
from tests.data.archive_server import (
    API,
    SEARCH,
    Image,
    body,
    cut_in_the_middle,
    hang_up,
    serve,
    settings_for,
    status,
)


@pytest.fixture
def archive():
    """Five images, two on a page: three pages."""
    with serve([Image(number) for number in range(1, 6)]) as archive:
        yield archive


def find(archive, page_size=2, **selection):
    connection = Connection(settings_for(archive, page_size=page_size))
    return isic_api.find_images(connection, Selection(**selection))


def ids(*numbers):
    return [f"ISIC_{number:07d}" for number in numbers]


# ---- pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("page_size", "num_pages"), [(1, 5), (2, 3), (5, 1), (100, 1)])
def test_pages_are_followed_to_the_end(archive, page_size, num_pages):
    found = find(archive, page_size)
    assert list(found.images) == ids(1, 2, 3, 4, 5)
    assert archive.requests[SEARCH] == num_pages
    assert found.num_unlisted == 0


@pytest.mark.parametrize("fault", [status(429, Retry_After="0"), status(500), cut_in_the_middle, hang_up])
def test_a_page_that_fails_is_asked_for_again(archive, fault):
    archive.faults[SEARCH] = [fault, fault]
    assert list(find(archive).images) == ids(1, 2, 3, 4, 5)
    assert archive.requests[SEARCH] == 5


def test_a_next_page_may_be_named_by_its_path_alone(archive):
    archive.next_url = f"{SEARCH}?limit=2&cursor=2"
    archive.before_page = lambda number: setattr(archive, "next_url", None) if number else None
    assert list(find(archive).images) == ids(1, 2, 3, 4, 5)


def test_an_image_that_slides_to_the_next_page_counts_once(archive):
    def insert_in_front(number):
        if number == 1:
            archive.images.insert(0, Image(9))

    archive.before_page = insert_in_front
    found = find(archive)
    assert list(found.images) == ids(1, 2, 3, 4, 5)
    assert found.num_unlisted == 0


def test_an_image_that_slides_to_a_page_already_read_is_counted_as_missing(archive):
    def remove_the_first(number):
        if number == 1:
            del archive.images[0]

    archive.before_page = remove_the_first
    found = find(archive)
    assert list(found.images) == ids(1, 2, 4, 5)
    assert found.num_unlisted == 1


def test_pages_that_lead_in_a_circle_are_refused(archive):
    archive.next_url = f"{archive.url}{SEARCH}?limit=2&cursor=0"
    with pytest.raises(DataError, match="lists no new image but names a next page"):
        find(archive)
    assert archive.requests[SEARCH] == 2


@pytest.mark.parametrize("host", ["http://localhost:{port}", "https://127.0.0.1:{port}", "//example.org"])
def test_a_next_page_on_another_host_is_refused(archive, host):
    archive.next_url = host.format(port=archive.url.rpartition(":")[2]) + SEARCH
    with pytest.raises(DataError, match="names a next page on another host"):
        find(archive)
    assert archive.requests[SEARCH] == 1


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (400, "Correct --query"),
        (401, "collections that need a login"),
        (403, "collections that need a login"),
        (404, "Check fetch.api_url"),
        (301, "Check fetch.api_url"),
        (503, "Run the same command again later"),
    ],
)
def test_a_refused_search_names_its_address_and_what_to_do(archive, code, hint):
    archive.faults[SEARCH] = [status(code)] * 3
    with pytest.raises(DataError, match=rf"{re.escape(archive.api_url)}\S*limit=2: HTTP {code} .*{hint}"):
        find(archive)


def test_a_server_that_is_down_is_told(archive):
    archive.faults[SEARCH] = [hang_up] * 3
    with pytest.raises(DataError, match=r"the connection was lost .*Check the network, a proxy"):
        find(archive)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"<html>", "expected JSON, received application/json"),
        (b"[]", "is not a page of search results (answer: Input should be"),
        (b'{"next": null}', "is not a page of search results (results: Field required)"),
        (b'{"results": [1]}', "is not a page of search results (results.0: Input should be"),
        (b'{"results": [], "count": "many"}', "is not a page of search results (count: Input should be"),
    ],
)
def test_an_answer_that_is_no_page_is_refused(archive, answer, message):
    archive.faults[SEARCH] = [body(answer, "application/json")]
    with pytest.raises(DataError, match=re.escape(message)):
        find(archive)


# ---- what is asked for -----------------------------------------------------------------------


def test_a_query_is_passed_on_as_it_is(archive):
    find(archive, query='age_approx:[20 TO 40] AND sex:"male" & ümlaut')
    assert archive.queries[0] == {"query": 'age_approx:[20 TO 40] AND sex:"male" & ümlaut', "limit": "2"}


def test_each_collection_is_searched_by_itself_and_an_image_in_two_comes_once(archive):
    archive.images = [Image(1, (65,)), Image(2, (65, 66)), Image(3, (66,)), Image(4, (67,))]
    found = find(archive, collections=(65, 66))
    assert list(found.images) == ids(1, 2, 3)
    assert found.collections == dict(zip(ids(1, 2, 3), (["65"], ["65", "66"], ["66"]), strict=True))
    assert [query["collections"] for query in archive.queries] == ["65", "66"]


@pytest.mark.parametrize(("limit", "num_pages"), [(1, 1), (2, 1), (3, 2), (99, 3)])
def test_a_limit_takes_the_first_and_reads_no_further(archive, limit, num_pages):
    found = find(archive, limit=limit)
    assert list(found.images) == ids(1, 2, 3, 4, 5)[:limit]
    assert archive.requests[SEARCH] == num_pages
    assert found.num_unlisted == 0


def test_images_of_another_type_or_licence_and_private_ones_are_left_out_before_the_limit(archive):
    archive.images = [
        Image(1, changes={"public": False}),
        Image(2, acquisition={"image_type": "clinical: close-up"}),
        Image(3, acquisition={"image_type": "TBP tile: overview"}),
        Image(4, changes={"copyright_license": "CC-BY-NC"}),
        Image(5, changes={"copyright_license": "CC-BY"}),
        Image(6),
    ]
    found = find(archive, licences=("CC-0", "CC-BY"), limit=2)
    assert list(found.images) == ids(5, 6)
    assert found.left_out == {"not public": 1, "not dermoscopic": 2, "with another licence": 1}
    assert list(find(archive).images) == ids(4, 5, 6)


@pytest.mark.parametrize("image_type", ["dermoscopic", " Dermoscopy ", None, "unknown"])
def test_an_image_whose_type_is_dermoscopic_or_not_stated_is_taken(archive, image_type):
    archive.images = [Image(1, acquisition={"image_type": image_type})]
    assert list(find(archive).images) == ids(1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"isic_id": "../../etc/passwd"}, "isic_id: String should match pattern"),
        ({"isic_id": "ISIC_0000001\n"}, "isic_id: String should match pattern"),
        ({"isic_id": "ISIC_٠٠٠٠٠٠١"}, "isic_id: String should match pattern"),
        ({"isic_id": None}, "isic_id: Input should be a valid string"),
        ({"files": {}}, "files.full: Field required"),
        ({"files": {"full": {"url": "file:///etc/passwd", "size": 1}}}, "files.full.url: String should"),
        ({"files": {"full": {"url": "http://host/", "size": 0}}}, "files.full.size: Input should be greater"),
        (
            {"files": {"full": {"url": "http://host/", "size": 10**12}}},
            "files.full.size: Input should be less",
        ),
        ({"public": None}, "public: Input should be a valid boolean"),
        ({"metadata": "none"}, "metadata: Input should be"),
    ],
)
def test_a_record_that_cannot_be_trusted_is_a_failure_of_its_own(archive, changes, reason):
    archive.images[1] = Image(2, changes=changes)
    found = find(archive)
    assert list(found.images) == ids(1, 3, 4, 5)
    assert len(found.failures) == 1
    assert reason in next(iter(found.failures.values()))


# ---- rows ------------------------------------------------------------------------------------


def test_a_record_becomes_a_row_with_the_columns_of_the_archives_export(archive):
    archive.images = [Image(2, clinical={"melanocytic": True, "patient_id": None}), Image(1)]
    table = isic_api.tabulate(find(archive, collections=(65,)))
    assert table.columns.tolist() == [
        "image_id",
        "attribution",
        "copyright_license",
        "collections",
        "age_approx",
        "benign_malignant",
        "image_type",
        "melanocytic",
        "patient_id",
        "pixels_x",
        "pixels_y",
        "sex",
    ]
    assert table["image_id"].tolist() == ids(1, 2)
    assert table.iloc[1].dropna().to_dict() == {
        "image_id": "ISIC_0000002",
        "attribution": "Hospital of the Loopback",
        "copyright_license": "CC-0",
        "collections": "65",
        "age_approx": "55",
        "benign_malignant": "benign",
        "image_type": "dermoscopic",
        "melanocytic": "True",
        "pixels_x": "64",
        "pixels_y": "64",
        "sex": "female",
    }


def test_a_record_cannot_write_our_own_columns(archive):
    archive.images = [Image(1, clinical=dict.fromkeys(isic_api.RESERVED_COLUMNS, "x"))]
    row = isic_api.tabulate(find(archive)).iloc[0].dropna()
    assert "x" not in row.tolist()
    assert not {"image_file", "mask_file", "file_sha256", "isic_id"} & set(row.index)


# ---- one record ------------------------------------------------------------------------------


def test_a_renewed_address_is_that_of_the_same_image(archive):
    connection = Connection(settings_for(archive))
    fresh = isic_api.renew(connection, "ISIC_0000001")
    assert fresh.url.endswith("/files/ISIC_0000001?signature=new")
    with pytest.raises(DownloadError, match="HTTP 404"):
        isic_api.renew(connection, "ISIC_0000009")
    archive.images[0].changes["isic_id"] = "ISIC_0000002"
    with pytest.raises(DownloadError, match="received the record of ISIC_0000002"):
        isic_api.renew(connection, "ISIC_0000001")
    archive.faults[API + "images/ISIC_0000003/"] = [body(b"{}", "application/json")]
    with pytest.raises(DownloadError, match=r"record unusable \(isic_id: Field required\)"):
        isic_api.renew(connection, "ISIC_0000003")
