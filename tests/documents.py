"""The code blocks of reStructuredText pages."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

_DIRECTIVE = re.compile(r"^(?P<indent> *)\.\. code-block:: (?P<language>\w+)$")
_FILE = re.compile(r"# (?P<path>[\w./-]+\.py)\b")


@dataclass(frozen=True)
class Block:
    """One ``code-block``.

    :ivar line: number of its first line, from 1.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that the text belongs to, if its first line says so: ``# shop/tasks.py``."""
        found = _FILE.match(self.text)
        return found["path"] if found else None

    @property
    def commands(self) -> list[str]:
        """The commands of a terminal session, without prompts, comments and what was printed."""
        return [line[2:].split("  #")[0].strip() for line in self.text.splitlines() if line.startswith("$ ")]


def pages() -> list[Path]:
    """Return the README and all pages of the documentation."""
    return [ROOT / "README.rst", *sorted(page for page in (ROOT / "docs").rglob("*.rst") if "_build" not in page.parts)]


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in its order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines):
        if directive := _DIRECTIVE.match(line):
            inside = _indented(lines[number + 1 :], len(directive["indent"]))
            first = next(index for index, text in enumerate(inside) if text.strip() and not _is_option(text))
            text = textwrap.dedent("\n".join(inside[first:])).rstrip() + "\n"
            found.append(Block(page, number + 2 + first, directive["language"], text))
    return found


def _indented(lines: list[str], indent: int) -> list[str]:
    """Return the lines up to the first one that is indented no more than the directive."""
    inside = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        inside.append(line)
    return inside


def _is_option(line: str) -> bool:
    return re.match(r" *:[\w-]+:", line) is not None
