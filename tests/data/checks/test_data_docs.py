import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from melanoma.config.data import ImageChecks, TableChecks
from melanoma.data.checks import validation
from tests.data.toys import fact, facts_of, limits, record, records_of

NUM_IMAGES = 60
HOSTILE = (
    '<img src="https://elsewhere.example/x.png">',
    "<script src='http://elsewhere.example/x.js'>alert(1)</script>",
    "<b onclick=alert(1)>bold</b>",
    '<a href="javascript:alert(1)">a</a><a href="https://elsewhere.example">b</a>',
    "<iframe src=//elsewhere.example></iframe><style>@import url(https://elsewhere.example)</style>",
)


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] for _, attrs in self.tags if attribute in attrs]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Sixty images: thirty blurred, one of a hostile name, some with hostile words in their metadata."""
    rows = [record(f"i{number:02}", target=number % 2, diagnosis=None) for number in range(NUM_IMAGES)]
    facts = [fact(f"i{number:02}", sharpness=number / 15) for number in range(NUM_IMAGES)]
    for row, words in zip(rows, HOSTILE, strict=False):
        row["sex"] = row["licence"] = words
    rows[-1]["image_id"] = facts[-1]["image_id"] = HOSTILE[0]
    rows[-1]["licence"] = None
    return validation.validate(
        records_of(*rows),
        facts_of(*facts),
        limits(max_quarantined_fraction=0.75),
        dataset="toy",
        positive_means="melanoma",
        folder=str(tmp_path_factory.mktemp("docs")),
    )


@pytest.fixture(scope="module")
def pages(result) -> list[Page]:
    return [Page(path) for path in sorted(result.docs.rglob("*")) if path.is_file()]


def test_the_site_is_an_index_and_two_pages_for_each_suite(pages, result):
    suites = [f"toy-{name}" for name in ("columns", "copies", "images", "outcome")]
    assert [page.path.relative_to(result.docs).as_posix() for page in pages] == [
        *(f"expectations/{suite}.html" for suite in suites),
        "index.html",
        *(f"validations/{suite}.html" for suite in suites),
    ]


def test_no_page_loads_or_runs_anything(pages):
    for page in pages:
        source = page.path.read_text(encoding="utf-8")
        style = "".join(re.findall(r"<style>.*?</style>", source, re.DOTALL))
        assert "url(" not in style
        assert "@import" not in style
        assert source.count("<style>") == 1
        loading = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "form", "base"}
        assert not loading & {tag for tag, _ in page.tags}
        assert page.values("src") == []
        assert not [name for _, attrs in page.tags for name in attrs if name.startswith(("on", "style"))]
        assert not [href for href in page.values("href") if ":" in href or href.startswith("//")]


def test_a_policy_in_every_page_forbids_the_browser_to_load_anything(pages):
    for page in pages:
        policies = [attrs["content"] for tag, attrs in page.tags if "http-equiv" in attrs]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_every_link_leads_to_a_page_or_to_a_place_on_it(pages):
    num_links = 0
    for page in pages:
        for href in page.values("href"):
            file, _, anchor = unquote(href).partition("#")
            target = (page.path.parent / file).resolve() if file else page.path
            assert target.is_file(), (page.path, href)
            assert not anchor or anchor in Page(target).values("id"), (page.path, href)
            num_links += 1
    assert num_links > 20


def test_every_page_but_the_index_leads_back_to_it(pages):
    for page in pages:
        assert page.path.name == "index.html" or "../index.html" in page.values("href")


def test_the_index_names_every_check_and_all_its_failing_ids(pages, result):
    (index,) = (page for page in pages if page.path.name == "index.html")
    for name in (*ImageChecks.model_fields, *TableChecks.model_fields):
        assert name in index.text
    blurred = next(entry for entry in result.report["checks"] if entry["check"] == "blurred")
    assert blurred["num_failing"] == 30
    assert f"30: {', '.join(blurred['failing_ids'])}" in index.text
    assert HOSTILE[0] in index.text  # as text: the tags are tested above
    assert validation.summary_line(result.report) in index.text


@pytest.mark.parametrize("kind", ["validations", "expectations"])
def test_the_pages_of_a_suite_name_its_checks_and_what_a_failure_means(pages, kind):
    (page,) = (p for p in pages if p.path.parent.name == kind and p.path.name == "toy-images.html")
    for name in ImageChecks.model_fields:
        assert name == "repeated_file" or f"{name} (" in page.text  # judged in a suite of its own
    assert "blurred (quarantine): sharpness at least 2" in page.text
    assert "hairy (warn)" in page.text


@pytest.mark.parametrize(
    ("suite", "verdict"),
    [("columns", "passed"), ("images", "quarantined"), ("copies", "passed"), ("outcome", "passed")],
)
def test_the_page_of_values_names_its_data_and_what_its_failures_mean(pages, suite, verdict):
    (page,) = (p for p in pages if p.path.parent.name == "validations" and p.path.stem == f"toy-{suite}")
    words = " ".join(page.text.split())
    assert f"Data asset: toy-{suite} Status: {verdict} Statistics" in words
    assert f"Validations / toy-{suite} / toy / 20" in words
    assert "__none__" not in words
    assert "Failed" not in words.replace("Failed Only", "")


def test_the_index_calls_a_quarantine_and_a_warning_by_their_names(pages):
    (index,) = (page for page in pages if page.path.name == "index.html")
    assert {"passed", "quarantined"} <= set(index.values("class"))
    assert "failed" not in index.values("class")


def test_a_critical_failure_is_called_failed(tmp_path):
    result = validation.validate(
        records_of(record("i1"), record("i2")),
        facts_of(fact("i1", sharpness=0.0), fact("i2")),
        limits(severities={"blurred": "critical", "hairy": "warn"}),
        dataset="toy",
        positive_means="melanoma",
        folder=str(tmp_path),
    )
    words = " ".join(Page(result.docs / "validations" / "toy-images.html").text.split())
    assert "Data asset: toy-images Status: failed Statistics" in words


def test_the_page_of_values_shows_failing_ids_and_values(pages):
    (page,) = (p for p in pages if p.path.parent.name == "validations" and p.path.name == "toy-images.html")
    assert "i18" in page.text  # Great Expectations shows the first twenty
    assert "1.2" in page.text  # the sharpness of i18


def test_every_page_says_what_it_is_not_and_that_the_images_are_synthetic(pages):
    for page in pages:
        assert "SYNTHETIC images, not real ones · positive means melanoma · research software" in page.text
