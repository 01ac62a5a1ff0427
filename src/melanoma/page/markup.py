"""Markdown reports as parts of the page: HTML in them is escaped.

Headings move down, so that the page has one first-level heading and skips no level. Tables become tables of
the page. Figures are embedded, or named as missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from melanoma.errors import DataError
from melanoma.page.pictures import Picture, embed
from melanoma.page.tables import Table, make

DEEPEST = 6
PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


@dataclass(frozen=True)
class Piece:
    """A part of a document: HTML, or adjacent tables, or adjacent figures; the other attributes are empty."""

    html: Markup = field(default_factory=Markup)
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Document:
    """A document in Markdown.

    Attributes:
        title: First heading; empty where there is none.
        lead: What stands between the title and the next heading, table or figure.
        pieces: All that follows, in order.
        shown: Figures among the pieces, as the document names them.
        missing: Figures that the document names and that do not exist.
    """

    title: str
    lead: Markup
    pieces: list[Piece]
    shown: list[str]
    missing: list[str]


def read(
    path: Path, *, top_level: int, max_width: int, captions: Mapping[str, Mapping[str, str]] | None = None
) -> Document:
    """The document in a Markdown file.

    Args:
        path: Markdown file; figures are read from its folder and subfolders only.
        top_level: Level on the page of its second-level headings.
        max_width: Maximum width of figures in pixels.
        captions: `caption` and `alt` by file name; a figure without them has its text in the document.

    Raises:
        DataError: The file is not in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8 ({error}). Remove it and run `dvc repro`.") from error
    title, tokens = _take_title(PARSER.parse(text))
    lead = Markup()
    pieces: list[Piece] = []
    shown: list[str] = []
    missing: list[str] = []
    heading, level = title, top_level - 1
    for block in _blocks(tokens):
        if block[0].type == "heading_open":
            heading = _text(block[1])
            level = _lower(block, level, top_level=top_level)
        if block[0].type == "table_open":
            pieces.append(Piece(tables=(_table(block, heading),)))
        elif (images := _images(block)) is not None:
            for image in images:
                source = unquote(str(image.attrs["src"]))
                words = (captions or {}).get(source, {"caption": image.content})
                picture = _embed(path.parent, source, words, max_width=max_width)
                pieces += [Piece(pictures=(picture,))] if picture else []
                (shown if picture else missing).append(source)
        else:
            _drop_images(block, missing)
            html = Markup(PARSER.renderer.render(block, PARSER.options, {}))  # noqa: S704 the parser escapes
            if pieces or block[0].type == "heading_open":
                pieces.append(Piece(html=html))
            else:
                lead += html
    return Document(title, lead, _joined(pieces), shown, missing)


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Adjacent pieces of the same kind as one piece."""
    joined: list[Piece] = []
    for piece in pieces:
        before = joined[-1] if joined else None
        if before is not None and _kind(before) == _kind(piece):
            joined[-1] = Piece(
                before.html + piece.html, before.tables + piece.tables, before.pictures + piece.pictures
            )
        else:
            joined.append(piece)
    return joined


def _kind(piece: Piece) -> tuple[bool, bool]:
    return bool(piece.tables), bool(piece.pictures)


def _take_title(tokens: list[Token]) -> tuple[str, list[Token]]:
    if tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        return _text(tokens[1]), tokens[3:]
    return "", tokens


def _blocks(tokens: list[Token]) -> Iterator[list[Token]]:
    """The tokens of each top-level block."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


def _lower(block: list[Token], before: int, *, top_level: int) -> int:
    """Move a heading down, at most one level below the one before it, and return its level."""
    wanted = top_level + max(0, int(block[0].tag[1]) - 2)
    level = min(wanted, before + 1, DEEPEST)
    for token in (block[0], block[-1]):
        token.tag = f"h{level}"
    return level


def _table(block: list[Token], heading: str) -> Table:
    rows: list[list[str]] = []
    for token in block:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_text(token))
    about = f"{heading}: {rows[0][0]}" if heading else rows[0][0]
    return make(about, rows[0], rows[1:])


def _text(inline: Token) -> str:
    """The text of a line without markup."""
    kinds = {"softbreak": " ", "hardbreak": " "}
    return "".join(kinds.get(token.type, token.content) for token in inline.children or [])


def _images(block: list[Token]) -> list[Token] | None:
    """The images of a paragraph that holds nothing else; None for other blocks."""
    if [token.type for token in block] != ["paragraph_open", "inline", "paragraph_close"]:
        return None
    children = [token for token in block[1].children or [] if token.type != "softbreak"]
    return children if children and all(token.type == "image" for token in children) else None


def _embed(folder: Path, source: str, words: Mapping[str, str], *, max_width: int) -> Picture | None:
    """The figure; None unless it lies below `folder`, because nothing else is read or fetched."""
    path = (folder / source).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return None
    alt = words.get("alt") or words["caption"] or f"Picture {path.name}, not described"
    return embed(path, caption=words["caption"], alt=alt, max_width=max_width)


def _drop_images(block: list[Token], missing: list[str]) -> None:
    """Replace images in running text by their text, because the page loads nothing."""
    for token in block:
        for child in token.children or []:
            if child.type == "image":
                missing.append(str(child.attrs["src"]))
                child.type, child.tag, child.content = "text", "", f"[picture: {child.content}]"
                child.children, child.attrs = None, {}
