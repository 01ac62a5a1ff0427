"""The page as people use it, in a real browser: mouse, keyboard, phone, dark mode, rules of accessibility."""

import json
import re
from contextlib import ExitStack
from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe

from melanoma.page import markup, render, study
from tests.browser import opened
from tests.imports import ROOT
from tests.page.toys import WIDTH, contents, draw_picture, headline

PHONE, DESKTOP = (375, 740), (1280, 900)
PUBLISHED = ROOT / "reports/published/index.html"
HOSTILE = "<script>window.attacked = 1</script><img src=x onerror='window.attacked = 1'>"
TABLE = """model,accuracy,note,where it was found
paper,0.8887,b,in a table of the paper
ours,0.912 (0.880 to 0.941),a,a mean over three networks on all images of the test set
older,-0.5 (-1.0 to 0.1),,
none,-,c,
"""
CARD = f"""# Data card: ph2

Taken from {HOSTILE}

## Classes

| attribution | images |
| --- | ---: |
| {HOSTILE} | 1,200 |
| clinic | 90 |

![Age by class](<ph2/age.png>)
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with two cohorts, a study, a data card and something missing."""
    folder = tmp_path_factory.mktemp("page")
    compare = folder / "study" / "compare"
    for number in range(3):
        draw_picture(compare / f"{number}.png", size=(900, 500))
    (compare / "table.csv").write_text(TABLE)
    captions = {
        f"{number}.png": {"caption": f"Figure {number}", "alt": f"Picture {number}"} for number in range(3)
    }
    (compare / "captions.json").write_text(json.dumps(captions | {"table.csv": {"caption": "Table II"}}))
    draw_picture(folder / "ph2" / "age.png")
    (folder / "ph2.md").write_text(CARD)
    text = render.render(
        contents(
            headlines=[headline(warnings=[HOSTILE]), headline("sample", is_synthetic=True)],
            cards={"ph2": markup.read(folder / "ph2.md", top_level=3, max_width=WIDTH)},
            study=study.gather(folder / "study", max_width=WIDTH),
            missing=["reports/data/isic.md"],
        ),
        max_megabytes=1,
    )
    (folder / "index.html").write_text(text, encoding="utf-8")
    return (folder / "index.html").as_uri()


@pytest.fixture
def show(chromium, address):
    """The page, closed again when the test is over."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(opened(chromium, address, **options))


@pytest.fixture
def show_published(chromium):
    """The published page with all its parts unfolded."""
    with ExitStack() as stack:

        def show_page(**options):
            page = stack.enter_context(opened(chromium, PUBLISHED.as_uri(), **options)).page
            unfold(page)
            return page

        yield show_page


def unfold(page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")


def first_column(page, caption="Table II") -> list[str]:
    table = page.locator("table", has=page.locator("caption", has_text=caption))
    return table.locator("tbody tr > :first-child").all_inner_texts()


def head(page, name, caption="Table II"):
    table = page.locator("table", has=page.locator("caption", has_text=caption))
    return table.get_by_role("columnheader", name=name)


def test_it_opens_without_an_error_and_without_asking_for_anything(show, address):
    seen = show()
    unfold(seen.page)
    seen.page.wait_for_load_state("networkidle")
    assert seen.problems == []
    assert seen.blocked == []
    assert [request for request in seen.requests if not request.startswith("data:")] == [address]


def test_all_pictures_load_and_have_words(show):
    page = show().page
    unfold(page)
    pictures = page.evaluate("Array.from(document.images, image => [image.naturalWidth, image.alt])")
    assert sorted(alt for _, alt in pictures) == ["Age by class", "Picture 0", "Picture 1", "Picture 2"]
    assert all(width > 0 for width, _ in pictures)


def test_hostile_words_of_a_report_are_shown_and_do_nothing(show):
    seen = show()
    unfold(seen.page)
    assert seen.page.evaluate("window.attacked") is None
    assert "window.attacked = 1" in seen.page.locator("main").inner_text()
    assert seen.problems == []


def test_an_open_alarm_stands_out_in_red_and_one_that_is_over_does_not(show):
    page = show().page
    alarm = page.locator("#served .verdict.bad")
    assert alarm.all_inner_texts() == [
        "Open alarm: version 2, 2026-06-01 to 2026-07-01: the answers are shifted."
    ]
    red, green, blue = map(int, re.findall(r"\d+", alarm.evaluate("it => getComputedStyle(it).color"))[:3])
    assert red > max(green, blue)
    caption = "Monitored windows of melanoma-ph2, the latest first"
    assert "an alarm that is over" in page.locator("table", has_text=caption).inner_text()


def test_even_a_script_that_got_past_the_escaping_could_not_run(show):
    seen = show()
    seen.page.evaluate(
        "const script = document.createElement('script'); script.textContent = 'window.attacked = 1';"
        "document.body.append(script);"
    )
    assert seen.page.evaluate("window.attacked") is None
    assert any("Content Security Policy" in problem for problem in seen.problems)


def test_a_click_sorts_numbers_by_value_and_a_second_one_the_other_way_with_blanks_below(show):
    page = show().page
    unfold(page)
    assert first_column(page) == ["paper", "ours", "older", "none"]
    button = head(page, "accuracy").get_by_role("button")
    button.click()
    assert first_column(page) == ["older", "paper", "ours", "none"]
    assert head(page, "accuracy").get_attribute("aria-sort") == "ascending"
    button.click()
    assert first_column(page) == ["ours", "paper", "older", "none"]
    assert head(page, "accuracy").get_attribute("aria-sort") == "descending"


def test_the_keyboard_sorts_and_only_the_sorted_head_says_so(show):
    page = show().page
    unfold(page)
    head(page, "accuracy").get_by_role("button").click()
    head(page, "note").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert first_column(page) == ["ours", "paper", "none", "older"]  # a, b, c, blank
    page.keyboard.press("Space")
    assert first_column(page) == ["none", "paper", "ours", "older"]
    assert head(page, "note").get_attribute("aria-sort") == "descending"
    assert head(page, "accuracy").get_attribute("aria-sort") is None


def test_every_table_of_the_page_can_be_sorted_and_loses_no_row(show):
    page = show().page
    unfold(page)
    buttons = page.locator("th button")
    before = page.locator("tbody tr").count()
    for at in range(buttons.count()):
        buttons.nth(at).click()
    assert buttons.count() >= 15
    assert page.locator("tbody tr").count() == before


def test_the_first_tab_leads_past_the_results_to_the_contents(show):
    page = show().page
    page.keyboard.press("Tab")
    link = page.locator("a.skip")
    assert link.evaluate("link => link === document.activeElement")
    assert link.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "contents"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Data"


def test_summary_and_results_come_first_and_the_study_last_and_folded(show):
    page = show().page
    places = page.evaluate("Array.from(document.querySelectorAll('main > [id]'), part => part.id)")
    assert places == [
        *("summary", "results", "contents", "data", "gates", "serve"),
        *("served", "pipeline", "registry", "reproduce", "missing", "study"),
    ]
    assert page.locator("#summary").bounding_box()["y"] < 300
    assert not page.get_by_text("Table II").is_visible()


def test_a_link_of_the_contents_unfolds_the_part_that_it_leads_to(show):
    page = show().page
    assert not page.get_by_text("Stages in the order of the graph").is_visible()
    page.get_by_role("navigation").get_by_role("link", name="The pipeline").press("Enter")
    page.get_by_text("Stages in the order of the graph").wait_for()


def test_tab_reaches_every_link_fold_and_button_in_the_order_of_the_page(show):
    page = show().page
    wanted = page.locator("a, summary, th button").filter(visible=True).count()
    reached = []
    for _ in range(300):
        page.keyboard.press("Tab")
        place = page.evaluate(
            "(() => { const at = document.activeElement;"
            " if (at === document.body || !at.matches('a, summary, th button')) return null;"
            " return Array.from(document.querySelectorAll('a, summary, th button')).indexOf(at); })()"
        )
        if place is not None and place in reached:
            break
        if place is not None:
            reached.append(place)
    assert reached == sorted(reached)
    assert len(reached) == wanted


@pytest.mark.parametrize("kind", ["a.skip", "nav a", "summary", "th button"])
def test_what_has_the_focus_is_outlined(show, kind):
    page = show().page
    wanted = page.locator(kind).first
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            break
    style = wanted.evaluate("element => getComputedStyle(element)['outline-style']")
    assert style == "solid"


def test_on_a_phone_a_row_is_a_block_and_each_cell_has_the_title_of_its_column(show):
    page = show(size=PHONE).page
    unfold(page)
    row = page.locator("tr", has_text="0.912 (0.880 to 0.941)")
    edges = row.locator("th, td").evaluate_all(
        "cells => cells.map(cell => cell.getBoundingClientRect().right)"
    )
    assert len(edges) == 4
    assert max(edges) <= PHONE[0]
    labels = row.locator("th, td").evaluate_all(
        "cells => cells.map(cell => getComputedStyle(cell, '::before').content)"
    )
    assert labels == ['"model"', '"accuracy"', '"note"', '"where it was found"']
    assert not head(page, "accuracy").is_visible()


def test_on_a_desktop_titles_stand_once_above_their_column(show):
    page = show().page
    unfold(page)
    cell = page.get_by_role("cell", name="0.912 (0.880 to 0.941)")
    assert cell.evaluate("cell => getComputedStyle(cell, '::before').content") == "none"
    assert head(page, "accuracy").is_visible()


def beyond_the_edge(page) -> list[str]:
    """Texts of the cells that end beyond the right edge of the window."""
    return page.evaluate(
        "Array.from(document.querySelectorAll('th, td')).filter("
        "cell => cell.getBoundingClientRect().right > innerWidth).map(cell => cell.textContent)"
    )


def test_on_a_phone_no_cell_of_the_published_page_is_beyond_the_edge(show_published):
    page = show_published(size=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    assert beyond_the_edge(page) == []
    cell = page.locator("td:visible").first
    assert 0 < cell.bounding_box()["width"] < PHONE[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_too_wide_scrolls_by_itself_and_can_be_reached_to_do_so(show, scheme):
    page = show(size=(620, 740), scheme=scheme).page
    unfold(page)
    page.wait_for_function("document.querySelector('.scroll[tabindex]') !== null")
    assert page.evaluate("document.documentElement.scrollWidth") <= 620
    loose = page.evaluate(
        "Array.from(document.querySelectorAll('.scroll, pre'))"
        ".filter(region => region.scrollWidth > region.clientWidth && region.tabIndex !== 0).length"
    )
    assert loose == 0
    wide = page.locator(".scroll[tabindex]").first
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("region => region.scrollLeft > 0", arg=wide.element_handle())


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2 of `rgb(r, g, b)`."""
    parts = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_paper_is_dark_where_people_want_it_dark(show):
    style = "getComputedStyle(document.body)"
    light, dark = show().page, show(scheme="dark").page
    assert luminance(light.evaluate(f"{style}.backgroundColor")) > 0.8
    assert luminance(dark.evaluate(f"{style}.backgroundColor")) < 0.05
    assert luminance(dark.evaluate(f"{style}.color")) > 0.6


def violations(page) -> list[tuple[str, list[str]]]:
    found = Axe().run(page).response["violations"]
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found]


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_breaks_no_rule_of_accessibility(show, scheme, size):
    page = show(size=size, scheme=scheme).page
    assert violations(page) == []
    unfold(page)
    assert violations(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_published_page_breaks_no_rule_of_accessibility(show_published, scheme, size):
    assert violations(show_published(size=size, scheme=scheme)) == []


def test_headings_are_in_order_and_every_table_and_section_has_a_name(show):
    page = show().page
    levels = page.evaluate(
        "Array.from(document.querySelectorAll('h1,h2,h3,h4,h5,h6'), head => +head.tagName[1])"
    )
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("main section:not([aria-labelledby])").count() == 0
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("header, nav, main, footer").count() == 4


def test_on_paper_everything_is_unfolded_and_dark_on_white_and_afterwards_folded_again(show):
    page = show(scheme="dark").page
    folds = page.locator("details:not([open])")
    num_folded = folds.count()
    assert num_folded > 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert folds.count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert folds.count() == num_folded


def test_without_scripts_the_page_still_says_all(chromium, address):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("th button").count() == 0
    result = page.get_by_text("0.912 (0.880 to 0.941)")
    assert not result.is_visible()
    page.locator("#study summary").click()
    assert result.is_visible()
    context.close()


def test_without_scripts_everything_is_printed(chromium, address):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    page.emulate_media(media="print")
    assert page.get_by_text("0.912 (0.880 to 0.941)").bounding_box()["height"] > 0
    context.close()
