"""A real headless Chromium, as Debian brings it, and pages in it that tell what they did."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
SCRIPT = "script"  # how a problem begins that a script threw
# Nothing may be fetched behind the tests' back; the profile is an empty folder that Playwright makes.
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_SECONDS = 180  # of every wait: machines that test are busy


@dataclass
class Seen:
    """What a page did.

    Attributes:
        page: To act on.
        problems: Errors of scripts, and what the console was told of errors and warnings.
        requests: Addresses that it asked for and that were let through.
        blocked: Addresses that it asked for in vain.
    """

    page: Page
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")  # not longer: while it lives, nothing else may run an event loop
def chromium() -> Iterator[Browser]:
    """One browser for all tests of a file, or a skip that says what is missing."""
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}; on Debian: apt-get install chromium")
    with launched() as browser:
        yield browser


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser until the block ends."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser,
    address: str,
    *,
    size: tuple[int, int] = (1280, 900),
    scheme: str = "light",
    allowed: str | None = None,
) -> Iterator[Seen]:
    """A page in a profile of its own.

    Args:
        browser: Browser of the fixture `chromium`.
        address: Address to open.
        size: Width and height, in pixels.
        scheme: `light` or `dark`.
        allowed: Prefix of addresses that are let through; None = only `address` itself.
    """
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    )
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    try:
        seen = Seen(context.new_page())
        seen.page.on("pageerror", lambda error: seen.problems.append(f"{SCRIPT}: {error}"))
        seen.page.on(
            "console",
            lambda said: (
                seen.problems.append(f"{said.type}: {said.text}")
                if said.type in {"error", "warning"}
                else None
            ),
        )

        def judge(route: Route) -> None:
            url = route.request.url
            is_fine = url.startswith(allowed) if allowed else url == address
            (seen.requests if is_fine else seen.blocked).append(url)
            route.continue_() if is_fine else route.abort()

        context.route("**/*", judge)
        seen.page.goto(address)
        yield seen
    finally:
        context.close()
