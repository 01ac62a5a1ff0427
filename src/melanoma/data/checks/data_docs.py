"""Rewrites the Data Docs of Great Expectations so that they need no network, with an index of our own.

The original pages load scripts, styles, fonts and pictures from other hosts, fill the index by script and do
not escape values of the table. Only text is kept, and a policy in each page forbids browsers everything else.
Sorting and filtering by script are lost.
"""

import re
import shutil
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path

from melanoma.data.checks.validator import Outcome

TABLE_TAGS = frozenset(("table", "thead", "tbody", "tr", "th", "td"))
TEXT_TAGS = frozenset(("p", "span", "a", "strong", "em", "b", "i", "br", "hr", "pre", "code"))
KEPT_TAGS = TABLE_TAGS | TEXT_TAGS | {"div", "nav", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6"}
KEPT_ATTRIBUTES = frozenset(("id", "class", "href", "colspan", "hidden"))
DROPPED_WITH_CONTENT = frozenset(("head", "script", "style", "footer"))
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2733; max-width: 75rem; margin: auto; padding: 1rem; }
h5, h6 { font-size: 1em; margin: .2rem 0; }
a { color: #0b6e99; }
ul { padding-left: 1.2rem; }
table { border-collapse: collapse; margin: .5rem 0; width: 100%; }
th, td { border: 1px solid #d5dce3; padding: .3rem .5rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
.note { background: #fff4d6; border: 1px solid #e3c567; padding: .5rem .8rem; }
.failed, .text-danger { color: #b3261e; font-weight: 600; }
.quarantined, .warned { color: #8a5a00; font-weight: 600; }
.passed, .text-success { color: #1b7f3b; }
.fa-times::before { content: "\\2717"; }
.fa-check-circle::before { content: "\\2713"; }
.fa-exclamation-triangle::before { content: "\\26A0"; }
.alert { background: #f0f4f7; padding: .4rem .8rem; }
.breadcrumb, .nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; list-style: none; padding: 0; }
.collapse:not(:target), .card:has(.btn-group), .float-left { display: none; }
"""
# The head of a page of values, where Great Expectations names no asset and knows two outcomes only.
ASSET = "Data asset: None"
STATUS = re.compile(r'(<span class="h6">Status:</span>) <i [^>]*></i> (?:Failed|Succeeded)')
VERDICTS = {"critical": "failed", "quarantine": "quarantined", "warn": "warned"}  # of a failure, worst first
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<p class="note">{note}</p>
{body}
</body>
</html>
"""


class _Kept(HTMLParser):
    """Collects the text of a page and its `KEPT_TAGS` with `KEPT_ATTRIBUTES`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._dropped: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._dropped is None and tag in DROPPED_WITH_CONTENT:
            self._dropped = tag
        elif self._dropped is None and tag in KEPT_TAGS:
            kept = (_attribute(name, value or "") for name, value in attrs if name in KEPT_ATTRIBUTES)
            self.parts.append(f"<{tag}{''.join(kept)}>")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._dropped:
            self._dropped = None
        elif self._dropped is None and tag in KEPT_TAGS:
            self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._dropped is None:
            self.parts.append(escape(data))


def _attribute(name: str, value: str) -> str:
    if name == "href":
        # Pages are one folder deep here, so every way up is one step; other links are dropped.
        value = re.sub(r"^(\.\./)+", "../", value)
        if not re.match(r"(#|\.\./)[\w./# -]*$", value):
            return ""
    return f' {name}="{escape(value)}"'


def finish(folder: Path, found: dict[str, list[Outcome]], *, title: str, summary: str, note: str) -> None:
    """Rewrite the site in `folder` so that it can be opened as files, without a network.

    Args:
        folder: Folder of the site as Great Expectations wrote it.
        found: Outcomes by name of the suite; the index lists them with all failing ids.
        title: Title of the index.
        summary: Line under the title.
        note: Note on every page about the origin of the images.
    """
    shutil.rmtree(folder / "static", ignore_errors=True)
    for suite, outcomes in found.items():
        (page,) = (folder / "validations" / suite).rglob("*.html")
        _rewrite(page, folder / "validations" / f"{suite}.html", note, _name_data(suite, outcomes))
        shutil.rmtree(folder / "validations" / suite)
        suite_page = folder / "expectations" / f"{suite}.html"
        _rewrite(suite_page, suite_page, note)
    heading = f"<h1>{escape(title)}</h1><p>{escape(summary)}</p>"
    body = heading + "".join(_section(suite, found[suite]) for suite in found)
    _write(folder / "index.html", title, note=note, body=body)


def _name_data(suite: str, outcomes: list[Outcome]) -> Callable[[str], str]:
    """A function that names the data in the head of a page of values, and the worst verdict of its checks."""
    verdicts = [_verdict(outcome) for outcome in outcomes]
    worst = next((verdict for verdict in VERDICTS.values() if verdict in verdicts), "passed")
    status = f'<span class="{worst}">{worst}</span>'

    def change(page: str) -> str:
        named = page.replace(ASSET, f"Data asset: {escape(suite)}", 1)
        return STATUS.sub(rf"\1 {status}", named, count=1)

    return change


def _verdict(outcome: Outcome) -> str:
    """`passed`, or what the failure means: `failed`, `quarantined` or `warned`."""
    return "passed" if outcome.is_passed else VERDICTS[outcome.severity]


def _rewrite(source: Path, path: Path, note: str, change: Callable[[str], str] = str) -> None:
    kept = _Kept()
    kept.feed(source.read_text(encoding="utf-8"))
    kept.close()
    _write(path, path.stem, note=note, body=change("".join(kept.parts)))


def _write(path: Path, title: str, *, note: str, body: str) -> None:
    page = PAGE.format(title=escape(title), style=STYLE, note=escape(note), body=body)
    path.write_text(re.sub(r"\s*\n\s*\n", "\n", page), encoding="utf-8")


def _section(suite: str, outcomes: list[Outcome]) -> str:
    name = escape(suite)
    rows = "".join(_row(outcome) for outcome in outcomes)
    return (
        f'<h2>{name}</h2><p><a href="validations/{name}.html">values found</a> · '
        f'<a href="expectations/{name}.html">rules</a></p><table><thead><tr><th>check</th><th>on failure'
        "</th><th>verdict</th><th>expected</th><th>found</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _row(outcome: Outcome) -> str:
    verdict = _verdict(outcome)
    found = "" if isinstance(outcome.observed, dict) or outcome.observed is None else str(outcome.observed)
    if outcome.failing_ids:
        found = f"{len(outcome.failing_ids)}: {', '.join(outcome.failing_ids)}"
    return (
        f"<tr><td>{escape(outcome.name)}</td><td>{outcome.severity}</td><td class={verdict!r}>{verdict}</td>"
        f"<td>{escape(outcome.expected)}</td><td>{escape(found)}</td></tr>"
    )
