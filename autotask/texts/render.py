"""The output of commands: aligned columns, safe text, moments, JSON."""

import json
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone

from autotask.texts.lines import one_line

#: Shown where there is nothing to show.
NOTHING = "-"


def table(head: Sequence[str], body: Iterable[Sequence[object]], *, right: Collection[str] = ()) -> list[str]:
    """Return lines with a heading and aligned columns.

    :param right: the headings of columns aligned to the right.
    """
    cells = [list(head), *([_cell(value) for value in row] for row in body)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            _padded(cell, width, name in right) for cell, width, name in zip(row, widths, head, strict=True)
        ).rstrip()
        for row in cells
    ]


def fields(pairs: Iterable[tuple[str, object]]) -> list[str]:
    """Return lines of names and values, with the values aligned."""
    shown = [(name, _cell(value)) for name, value in pairs]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"{name:<{width}}  {value}".rstrip() for name, value in shown]


def paragraph(text: str, indent: str = "  ") -> list[str]:
    """Return text of several lines, without characters that could drive a terminal."""
    return [indent + one_line(line.expandtabs(), 2000) for line in text.splitlines()]


def moment(value: datetime | None) -> str:
    """Return a moment as text, in Django's current time zone."""
    if value is None:
        return NOTHING
    return timezone.localtime(value).isoformat(" ", "seconds")


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return ``1 task`` or ``2 tasks``."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def as_json(document: Any, *, one_a_line: bool = False) -> str:
    """Return a document as JSON, in plain ASCII."""
    return json.dumps(document, indent=None if one_a_line else 2)


def _cell(value: object) -> str:
    return one_line(str(value)) or NOTHING


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - _width(cell))
    return space + cell if right else cell + space


def _width(text: str) -> int:
    """Return the number of columns that a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
