"""What stages of the study left in their folders for people: tables, pictures and pages, whichever there are.

A folder holds `captions.json`, which says what each of its `*.csv` and `*.png` shows, and perhaps `*.md`;
folders with the names of cohorts hold the same for one of them. So a new stage needs no change here. Tables
without a caption are raw data and not shown.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from melanoma import files
from melanoma.errors import DataError
from melanoma.page.markup import Document, read
from melanoma.page.pictures import Picture, embed
from melanoma.page.tables import Table, read_csv

CAPTIONS = "captions.json"


@dataclass(frozen=True)
class Part:
    """What one folder holds.

    Attributes:
        stage: Which wrote it.
        cohort: Of which it is; empty for all together.
        documents: Pages in Markdown.
        tables: By caption.
        pictures: With captions.
        missing: What its pages or captions name and is not there, and what has no caption.
    """

    stage: str
    cohort: str
    documents: list[Document]
    tables: list[Table]
    pictures: list[Picture]
    missing: list[str]

    @property
    def title(self) -> str:
        """Stage and cohort."""
        return f"{self.stage}: {self.cohort}" if self.cohort else self.stage


def gather(
    folder: Path, *, items: Mapping[str, Collection[str] | None], known: Collection[str], max_width: int
) -> list[Part]:
    """The parts of stages that run, in the order of `items`.

    Args:
        folder: With a folder a stage; others are not looked at.
        items: By stage the cohorts for which it runs, none where it is off; None where it is no loop: then
            all that it left is of its last run.
        known: Names of all cohorts: files and folders of one for which a stage does not run are left out.
        max_width: Of pictures, in pixels.
    """
    parts = []
    for stage, active in items.items():
        if not (folder / stage).is_dir() or (active is not None and not active):
            continue
        inactive = set() if active is None else set(known) - set(active)
        inner = [path for path in _folders(folder / stage) if path.name not in inactive]
        for path, cohort in [(folder / stage, ""), *((path, path.name) for path in inner)]:
            parts.append(_read(path, stage, cohort, inactive=inactive, max_width=max_width))
    return [part for part in parts if part.documents or part.tables or part.pictures or part.missing]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read(folder: Path, stage: str, cohort: str, *, inactive: Collection[str], max_width: int) -> Part:
    captions = _captions(folder / CAPTIONS)
    named = {name: said for name, said in captions.items() if not _is_of(name, inactive)}
    there = [folder / name for name in named if (folder / name).is_file()]
    documents = [
        read(path, top_level=4, max_width=max_width, captions=captions)
        for path in sorted(folder.glob("*.md"))
    ]
    lost = sorted({name for document in documents for name in document.missing})
    placed = {name for document in documents for name in document.shown}
    bare = [
        path
        for path in sorted(folder.glob("*.png"))
        if path.name not in {*captions, *placed} and not _is_of(path.name, inactive)
    ]
    return Part(
        stage=stage,
        cohort=cohort,
        documents=documents,
        tables=[read_csv(path, named[path.name]["caption"]) for path in there if path.suffix == ".csv"],
        pictures=[
            _picture(path, named[path.name], max_width=max_width)
            for path in there
            if path.suffix == ".png" and path.name not in placed
        ],
        missing=[
            *(f"{folder / name}, which a page of this folder names" for name in lost),
            *(f"{folder / name}, which {CAPTIONS} names" for name in named if not (folder / name).is_file()),
            *(f"a caption of {path} in {folder / CAPTIONS}; so it is not shown" for path in bare),
        ],
    )


def _is_of(name: str, cohorts: Collection[str]) -> bool:
    """Whether a file is named after one of `cohorts`: `isic.csv`, `isic_roc.png`."""
    return any(name.startswith((f"{cohort}.", f"{cohort}_", f"{cohort}-")) for cohort in cohorts)


def _picture(path: Path, said: dict[str, str], *, max_width: int) -> Picture:
    alt = said.get("alt") or said["caption"]
    return embed(path, caption=said["caption"], alt=alt, max_width=max_width)


def _captions(path: Path) -> dict[str, dict[str, str]]:
    """Caption and text instead of the picture by file name; a text alone is a caption.

    Raises:
        DataError: It holds something else.
    """
    if not path.exists():
        return {}
    content = files.read_json(path)
    captions = {name: {"caption": said} if isinstance(said, str) else said for name, said in content.items()}
    wrong = [name for name, said in captions.items() if not _is_caption(said) or Path(name).name != name]
    if wrong:
        raise DataError(
            f'{path}: each file of this folder needs {{"caption": "...", "alt": "..."}} in words, not so '
            f"{wrong[:5]}."
        )
    return captions


def _is_caption(said: object) -> bool:
    return (
        isinstance(said, dict)
        and bool(said.get("caption"))
        and all(isinstance(text, str) for text in said.values())
    )
