"""Markdown of reports as parts of the page: HTML in it is shown, not obeyed; its pictures come along or are named.

Headings move down, so that the page keeps one first heading and skips no level; tables become tables of the page.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from melanoma.page import pictures, tables

DEEPEST = 6
PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


@dataclass(frozen=True)
class Piece:
    """A part of a document: running HTML, a table or a picture; the others are None."""

    html: Markup | None = None
    table: tables.Table | None = None
    picture: pictures.Picture | None = None


@dataclass(frozen=True)
class Document:
    """A page in Markdown.

    Attributes:
        title: Its first heading, which is not among the pieces; empty where there is none.
        pieces: In order.
        shown: Pictures among the pieces, as it names them.
        missing: Pictures that it names and that are not here.
    """

    title: str
    pieces: list[Piece]
    shown: list[str]
    missing: list[str]


def read(path: Path, *, top_level: int, max_width: int) -> Document:
    """The document in a Markdown file.

    Args:
        path: Its pictures are looked for from its folder on, and nowhere above it.
        top_level: Of its second-level headings on the page.
        max_width: Of pictures, in pixels.
    """
    tokens = PARSER.parse(path.read_text(encoding="utf-8"))
    title, tokens = _take_title(tokens)
    pieces: list[Piece] = []
    shown: list[str] = []
    missing: list[str] = []
    heading, level, running = title, top_level - 1, list[Token]()

    def flush() -> None:
        if running:
            pieces.append(Piece(html=Markup(PARSER.renderer.render(running, PARSER.options, {}))))  # noqa: S704
            running.clear()

    for block in _blocks(tokens):
        kind = block[0].type
        if kind == "heading_open":
            heading = _text(block[1])
            level = _lower(block, level, top_level=top_level)
        if kind == "table_open":
            flush()
            pieces.append(Piece(table=_table(block, heading)))
        elif (images := _images(block)) is not None:
            flush()
            for image in images:
                source, alt = unquote(str(image.attrs["src"])), image.content
                picture = _embed(path.parent, source, alt, max_width=max_width)
                pieces += [Piece(picture=picture)] if picture else []
                (shown if picture else missing).append(source)
        else:
            _drop_images(block, missing)
            running += block
    flush()
    return Document(title, pieces, shown, missing)


def _take_title(tokens: list[Token]) -> tuple[str, list[Token]]:
    if tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        return _text(tokens[1]), tokens[3:]
    return "", tokens


def _blocks(tokens: list[Token]) -> Iterator[list[Token]]:
    """Runs of tokens that open and close at the top of the document."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


def _lower(block: list[Token], before: int, *, top_level: int) -> int:
    """Move a heading down, at most one level below the one before it; its level."""
    wanted = top_level + max(0, int(block[0].tag[1]) - 2)
    level = min(wanted, before + 1, DEEPEST)
    for token in (block[0], block[-1]):
        token.tag = f"h{level}"
    return level


def _table(block: list[Token], heading: str) -> tables.Table:
    rows: list[list[str]] = []
    for token in block:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_text(token))
    return tables.make(heading or "Table", rows[0], rows[1:])


def _text(inline: Token) -> str:
    """What a reader sees of a line, without marks."""
    kinds = {"softbreak": " ", "hardbreak": " "}
    return "".join(kinds.get(token.type, token.content) for token in inline.children or [])


def _images(block: list[Token]) -> list[Token] | None:
    """The pictures of a paragraph that holds nothing else."""
    if [token.type for token in block] != ["paragraph_open", "inline", "paragraph_close"]:
        return None
    children = [token for token in block[1].children or [] if token.type != "softbreak"]
    return children if children and all(token.type == "image" for token in children) else None


def _embed(folder: Path, source: str, alt: str, *, max_width: int) -> pictures.Picture | None:
    """None where the picture is not below `folder`: nothing else is read, and nothing is fetched."""
    path = (folder / source).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return None
    return pictures.embed(path, caption=alt, alt=alt or f"Picture {path.name}, not described", max_width=max_width)


def _drop_images(block: list[Token], missing: list[str]) -> None:
    """Pictures in running text become their words: the page loads nothing."""
    for token in block:
        for child in token.children or []:
            if child.type == "image":
                missing.append(str(child.attrs["src"]))
                child.type, child.tag, child.content = "text", "", f"[picture: {child.content}]"
                child.children, child.attrs = None, {}
