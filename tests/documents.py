"""The READMEs and the commands in their shell blocks.

Each command of a shell block is run by `tests/end_to_end/test_readme_commands.py`, except for those that are
marked with what a test has not. `# needs: Docker` at the end of a line marks the command; on its own line
it marks all that follows in the block. Commands in backticks within the text are not run:
`tests/test_documents.py` checks that their scripts, options, targets and parameters exist.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.imports import ROOT

TOP = ROOT / "README.md"
FOLDERS = ("pipelines", "src", "tests", "infra", "reports/published")
DOCUMENTS = [TOP, *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("README.md")))]
MARK = re.compile(r"#(?:.*[ ;])?needs: (?P<needs>\S.*)$")


@dataclass(frozen=True)
class Command:
    """A command of a shell block.

    Attributes:
        text: What the shell is given, with a comment if it has no mark.
        needs: What a test has not; empty if a test can run the command.
    """

    text: str
    needs: str


def text_of(document: Path) -> str:
    """The text of a document."""
    return document.read_text(encoding="utf-8")


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks in a language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text_of(document), flags=re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(space) for line in code.splitlines()) for space, code in found]


def shell_commands(block: str) -> list[Command]:
    """The commands of a shell block; a line that ends with `\\` or `|` goes on in the next one."""
    commands, needs_of_rest = [], ""
    for line in re.sub(r"(\\|\|)\n", lambda end: "| " if end[1] == "|" else " ", block).splitlines():
        text, needs = line.strip(), needs_of_rest
        if mark := MARK.search(text):
            needs, text = mark["needs"], text[: mark.start()].strip()
            if not text:
                needs_of_rest = needs
        if text and not text.startswith("#"):
            commands.append(Command(text, needs))
    return commands
