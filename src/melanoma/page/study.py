"""Tables, figures and documents that the stages of the study leave in their folders.

A folder holds `captions.json`, which says what each of its `*.csv` and `*.png` shows, and perhaps `*.md`.
Its subfolders hold the same for one cohort each. So a new stage of the study needs no change here. A table
without a caption is raw data and is not shown.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from melanoma import files
from melanoma.errors import DataError
from melanoma.page.markup import Document, read
from melanoma.page.pictures import Picture, embed
from melanoma.page.tables import Table, read_csv

CAPTIONS = "captions.json"
FIRST = "compare"  # the conclusion of all the rest
QUESTIONS = {
    "compare": "Are the printed figures confirmed?",
    "crops": "Does cropping to the lesion help?",
    "diagnosis": "Does learning several classes help to recognise melanoma?",
    "resplit": "Does the test set overestimate performance?",
    "transfer": "How well do networks do on a source that they were not trained on?",
}


@dataclass(frozen=True)
class Part:
    """The contents of one folder.

    Attributes:
        title: Question of the stage, stage, and cohort where it is the folder of one.
        documents: Documents in Markdown.
        tables: Tables with a caption.
        pictures: Figures that no document shows.
        missing: Named files that do not exist, and figures without a caption.
    """

    title: str
    documents: list[Document]
    tables: list[Table]
    pictures: list[Picture]
    missing: list[str]


def gather(folder: Path, *, max_width: int) -> list[Part]:
    """The parts of all stages, `compare` first; empty where `folder` does not exist.

    Args:
        folder: Folder with one subfolder for each stage.
        max_width: Maximum width of figures in pixels.
    """
    parts = []
    for stage in sorted(_folders(folder), key=lambda path: path.name != FIRST):
        parts += [
            _read(folder, _title(stage.name, *folder.relative_to(stage).parts), max_width=max_width)
            for folder in (stage, *_folders(stage))
        ]
    return [part for part in parts if part.documents or part.tables or part.pictures or part.missing]


def _title(stage: str, *cohort: str) -> str:
    """The question of a stage, the stage and the cohort; without the question where it is not known."""
    names = ", ".join([stage, *cohort])
    return f"{QUESTIONS[stage]} ({names})" if stage in QUESTIONS else names


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read(folder: Path, title: str, *, max_width: int) -> Part:
    captions = _captions(folder / CAPTIONS)
    present = [folder / name for name in captions if (folder / name).is_file()]
    documents = [
        read(path, top_level=4, max_width=max_width, captions=captions)
        for path in sorted(folder.glob("*.md"))
    ]
    placed = {name for document in documents for name in document.shown}
    return Part(
        title=title,
        documents=documents,
        tables=[read_csv(path, captions[path.name]["caption"]) for path in present if path.suffix == ".csv"],
        pictures=[
            _picture(path, captions[path.name], max_width=max_width)
            for path in present
            if path.suffix == ".png" and path.name not in placed
        ],
        missing=list(_missing(folder, documents, captions)),
    )


def _missing(folder: Path, documents: list[Document], captions: Mapping[str, Any]) -> Iterable[str]:
    for name in sorted({name for document in documents for name in document.missing}):
        yield f"{folder / name}, which a document of this folder names"
    for name in captions:
        if not (folder / name).is_file():
            yield f"{folder / name}, which {CAPTIONS} names"
    known = {*captions, *(name for document in documents for name in document.shown)}
    for path in sorted(folder.glob("*.png")):
        if path.name not in known:
            yield f"a caption of {path} in {folder / CAPTIONS}; so it is not shown"


def _picture(path: Path, words: Mapping[str, str], *, max_width: int) -> Picture:
    alt = words.get("alt") or words["caption"]
    return embed(path, caption=words["caption"], alt=alt, max_width=max_width)


def _captions(path: Path) -> dict[str, dict[str, str]]:
    """Caption and alternative text by file name; a text alone is a caption.

    Raises:
        DataError: The file has another form.
    """
    if not path.exists():
        return {}
    content = files.read_json(path)
    captions = {
        name: {"caption": words} if isinstance(words, str) else words for name, words in content.items()
    }
    wrong = [name for name, words in captions.items() if not _is_caption(words) or Path(name).name != name]
    if wrong:
        raise DataError(
            f'{path}: each file of this folder needs {{"caption": "...", "alt": "..."}} in words, not so '
            f"{wrong[:5]}."
        )
    return captions


def _is_caption(words: object) -> bool:
    return (
        isinstance(words, dict)
        and bool(words.get("caption"))
        and all(isinstance(text, str) for text in words.values())
    )
