"""Take the screenshots of MLflow's pages again: run `python -m tests.screenshots` after `make demo`.

Needs Debian's chromium. They show the synthetic sample; images of patients must not be in them.
"""

from pathlib import Path

from playwright.sync_api import Page

from tests.browser import launched, opened
from tests.end_to_end.mlflow_pages import served_pages
from tests.imports import ROOT

FOLDER = ROOT / "infra" / "screenshots"
SIZE = (1440, 760)
TITLES = {
    "mlflow_runs.png": "melanoma-sample",
    "mlflow_compare.png": "melanoma-sample: two best trials",
}


def main() -> None:
    """Write one picture per page."""
    with served_pages(Path.cwd()) as pages, launched() as browser:
        for name, title in TITLES.items():
            server = pages[title].partition("#")[0]
            with opened(browser, pages[title], size=SIZE, allowed=server) as seen:
                _close_hints(seen.page)
                seen.page.get_by_role("gridcell").first.wait_for()
                seen.page.screenshot(path=FOLDER / name)
            print(FOLDER / name)


def _close_hints(page: Page) -> None:
    """Close MLflow's assistant and the hint that this is a saved view."""
    page.get_by_text("You're viewing a shared view").wait_for()
    for button in reversed(page.get_by_role("button", name="Close").all()):
        button.click()


if __name__ == "__main__":
    main()
