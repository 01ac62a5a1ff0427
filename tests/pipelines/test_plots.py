"""`dvc plots show` on the reports of the workspace, in a browser without a network."""

import shutil
import subprocess

import pytest

from pipelines import _vega
from tests.browser import SCRIPT, chromium, opened
from tests.imports import ROOT
from tests.pipelines import workspace as ws

__all__ = ["chromium"]

PLOTS = {
    *("audit", "calibration", "confusion", "decision", "learning_curves", "precision_recall", "roc", "seeds"),
}


@pytest.fixture
def page(workspace, tmp_path):
    """The page that DVC writes from the committed graph, templates and configuration."""
    folder = ws.copy(workspace, tmp_path / "copy")
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["dvc", "plots", "show"], cwd=folder, check=True, capture_output=True)
    return folder / "dvc_plots" / "index.html"


def is_drawn(seen) -> dict[str, bool]:
    """By name of the plot, whether it has height."""
    drawn = {}
    for div in seen.page.query_selector_all("main > div"):
        chart = div.query_selector("svg.marks")
        name = div.get_attribute("id").removeprefix("reports_sample_plots_").removesuffix("_csv")
        drawn[name] = chart is not None and chart.bounding_box()["height"] > 100
    return drawn


@pytest.mark.slow
def test_eight_plots_are_drawn_without_a_network(page, chromium):
    assert _vega.main(["--out", str(page.parents[1] / ".venv" / "vega.js")]) == 0
    with opened(chromium, page.as_uri(), allowed="file://") as seen:
        seen.page.wait_for_selector("main > div:last-child svg.marks")
        assert is_drawn(seen) == dict.fromkeys(PLOTS, True)
        assert seen.blocked == []
        assert not [problem for problem in seen.problems if problem.startswith((SCRIPT, "error"))]


@pytest.mark.slow
def test_without_vega_and_network_the_page_says_what_is_missing(page, chromium):
    with opened(chromium, page.as_uri(), allowed="file://") as seen:
        assert "run make install" in seen.page.inner_text("#missing")
        assert not any(is_drawn(seen).values())
        assert any("vega" in address for address in seen.blocked)
