"""The committed page, headlines and reports tell the same figures.

They are read from the index of Git: a run that redraws the page in the working tree does not matter here.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from melanoma.evaluation.bootstrap import in_words
from melanoma.page import results
from melanoma.schema import MODEL_NAMES, TEST

ROOT = Path(__file__).resolve().parents[2]
COHORTS = ("isic", "ph2", "joint")
ROW = re.compile(r'<th scope="row">([^<]+)</th>\s*<td class="number">([^<]+)</td>')

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a Git working tree")


def committed(path: str) -> str:
    return subprocess.run(
        ["git", "show", f":reports/published/{path}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
    ).stdout


def read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(committed(path))
    return content


def expected_aucs(cohort: str) -> dict[str, str]:
    """The rows of the cohort's table of AUCs, from the reports of `evaluate` and `audit`."""
    metrics, audit = read(f"{cohort}/metrics.json"), read(f"{cohort}/audit.json")
    found = {model: metrics[model][TEST]["auc_roc"] for model in MODEL_NAMES}
    found |= {name: entry["auc_roc"] for name, entry in audit["references"].items()}
    selected = metrics["selected"]
    return {
        results.NAMES[name] + (" (selected)" if name == selected else ""): in_words(entry)
        for name, entry in found.items()
    }


def aucs_on(page: str, cohort: str) -> dict[str, str]:
    caption = f"<caption><span>AUC of {cohort} on test, with 95 % intervals</span></caption>"
    table = page.split(caption, maxsplit=1)[1].split("</table>", maxsplit=1)[0]
    return dict(ROW.findall(table))


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_page_shows_the_aucs_of_the_reports(cohort):
    assert aucs_on(committed("index.html"), cohort) == expected_aucs(cohort)


def test_another_figure_on_the_page_would_be_noticed():
    page = committed("index.html")
    right = expected_aucs("joint")["file facts alone"]
    changed = aucs_on(page.replace(right, "0.542 (0.479 to 0.604)"), "joint")
    assert changed != expected_aucs("joint")


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_headline_agrees_with_the_reports(cohort):
    headline = read(f"headlines/{cohort}.json")
    metrics, audit = read(f"{cohort}/metrics.json"), read(f"{cohort}/audit.json")
    for model in MODEL_NAMES:
        shown = headline["metrics"][model]
        assert shown == {name: metrics[model][TEST][name] for name in shown}
    for name, shown in headline["references"].items():
        assert shown == {key: audit["references"][name][key] for key in shown}
    assert headline["warnings"] == audit["warnings"]
    assert headline["selected"] == metrics["selected"]


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_sentences_on_the_page_are_those_of_the_headline(cohort):
    page = committed("index.html")
    described = results.describe(read(f"headlines/{cohort}.json"))
    said = [described[name] for name in ("counts", "verdict", "seeds", "answers", "auc_in_words")]
    missing = [text for text in [*said, *described["warnings"]] if str(escape(text)) not in page]
    assert missing == []


def test_the_overview_on_the_page_is_that_of_the_headlines():
    words = re.sub(r"<[^>]+>", "|", committed("index.html"))
    overview = results.overview([read(f"headlines/{cohort}.json") for cohort in COHORTS])
    for row in overview.rows:
        assert re.search(r"\|+".join(re.escape(cell.text) for cell in row), words)
