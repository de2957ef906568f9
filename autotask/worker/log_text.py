"""The text of the lines that tasks log, as it is stored: secrets are masked, and no message can look like another line."""

import logging
import re
import time
from collections.abc import Sequence
from typing import Any

from autotask.store.task_logs import count
from autotask.texts.lines import INDENT, indented, one_line
from autotask.texts.masks import LONGEST_TEXT, Masks

#: Characters of the names of a level and of a logger; a logger may be named after a key that somebody sent.
LONGEST_NAME = 200

#: Bytes of a line without any message.
SHORTEST_LINE = len("2026-01-01 00:00:00.000Z | 1 | INFO | x - \n")

#: Levels and loggers whose names are remembered at most.
MOST_PLACES = 1_000

#: A line: its attempt, or the context of that; its beginning, with its time; its message. A plain tuple: each line of each task is
#: one.
Said = tuple[Any, str, str]

#: Characters of the time of a line.
_TIME = len("2026-01-01 00:00:00.000Z")

_formatter = logging.Formatter()
_LINE_BEGINS = re.compile(rf"(?<=\n)(?!{INDENT})")


def whole(record: logging.LogRecord, message: str) -> str:
    """Return the message of a record with its traceback and its stack, and without the name of the task."""
    if (name := getattr(record, "task_name", None)) is not None:
        # Everybody knows whose line it is.
        message = message.removeprefix(f"{name} {getattr(record, 'task_id', '')}: ")
    if record.exc_info and record.exc_info[0] is not None:
        try:
            message += f"\n{_formatter.formatException(record.exc_info)}"
        except Exception as error:  # The causes of an exception, or the name of its class, may raise.
            message += f"\n(its traceback cannot be shown: {type(error).__name__})"
    if record.stack_info:
        message += f"\n{record.stack_info}"
    return message


class Heads:
    """Makes the beginnings of lines, before their messages. Any thread may call it."""

    def __init__(self) -> None:
        self._second = (-1, "")
        self._places: dict[tuple[str, str], str] = {}

    def head(self, moment: int, attempt: int, level: str, logger: str) -> str:
        """Return the beginning of a line.

        :param moment: milliseconds since 1970.
        """
        second, millisecond = divmod(moment, 1000)
        last, shown = self._second
        if second != last:
            shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
            self._second = (second, shown)
        if (place := self._places.get((level, logger))) is None:
            place = f"{one_line(level, LONGEST_NAME)} | {one_line(logger, LONGEST_NAME)}"
            if len(self._places) >= MOST_PLACES:
                self._places.clear()
            self._places[level, logger] = place
        return f"{shown}.{millisecond:03d}Z | {attempt} | {place} - "


def text_of(said: Sequence[Said], masks: Masks) -> str:
    """Return lines of an attempt as one text."""
    # Most messages are plain; that is seen of all of them together.
    together = " ".join([message for _, _, message in said])
    if together.isprintable() and len(together) <= LONGEST_TEXT and not masks.suspect(together):
        return "".join([f"{head}{message}\n" for _, head, message in said])
    return "".join([f"{head}{_plain(message, masks)}\n" for _, head, message in said])


def _plain(message: str, masks: Masks) -> str:
    is_whole = len(message) <= LONGEST_TEXT
    text = masks.text(message) if is_whole else f"{masks.beginning(message)}…"
    return text if text.isprintable() else indented(text)


def time_of(said: Said) -> str:
    """Return when a line was logged, as text."""
    return said[1][:_TIME]


def size_of(text: str) -> int:
    """Return the bytes of a text in the database."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def last_of(text: str, most: int) -> tuple[str, int]:
    """Return the last lines of a text, of at most *most* bytes, and how many are missing."""
    # No character has more than four.
    if 4 * len(text) <= most or size_of(text) <= most:
        return text, 0
    last = "".join(last_pieces(text, most, most))
    return last, count(text) - count(last)


def last_pieces(text: str, size: int, most: int) -> list[str]:
    """Return the last lines of a text, in pieces.

    :param size: bytes of a piece, unless a single line has more.
    :param most: bytes of all pieces together.
    """
    pieces: list[list[str]] = [[]]
    room = size
    for line in reversed(_LINE_BEGINS.split(text)):
        length = size_of(line)
        if (most := most - length) < 0:
            break
        if length > room and pieces[-1]:
            pieces.append([])
            room = size
        pieces[-1].append(line)
        room -= length
    return ["".join(reversed(piece)) for piece in reversed(pieces) if piece]
