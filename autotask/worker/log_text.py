"""The text of the lines that tasks log, as it is stored: secrets are masked, and no message can look like another line."""

import logging
import re
import time
from collections.abc import Sequence
from operator import itemgetter
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

#: A line: its attempt, or the context of that; when it was logged; its level, or the name of that; its logger; its message.
#: A plain tuple: each line of each task is one.
Said = tuple[Any, float, int | str, str, str]

#: Returns when a line was logged.
time_of = itemgetter(1)
_message = itemgetter(4)

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


class Texts:
    """Makes the texts of lines. Only one thread at a time calls it."""

    def __init__(self) -> None:
        self._second = (-1, "")
        self._places: dict[tuple[str, str], str] = {}
        #: The beginning of the last line, and what it is made of: most lines of the next millisecond have the same.
        self._last: tuple[float, int | str, str, int, str] = (-1.0, 0, "", 0, "")

    def of(self, said: Sequence[Said], attempt: int, masks: Masks) -> str:
        """Return lines of an attempt as one text.

        :param attempt: its number.
        """
        # Most messages are plain; that is seen of all of them together.
        together = " ".join(map(_message, said))
        is_plain = together.isprintable() and len(together) <= LONGEST_TEXT and not masks.suspect(together)
        since, its_level, its_logger, its_attempt, head = self._last
        lines: list[str] = []
        for _, created, level, logger, message in said:
            if (
                not 0.0 <= created - since < 0.001
                or level is not its_level
                or logger is not its_logger
                or attempt != its_attempt
            ):
                moment = int(created * 1000)
                since, its_level, its_logger, its_attempt = moment / 1000, level, logger, attempt
                head = f"{self._time(moment)} | {attempt} | {self._place(_name(level), logger)} - "
                self._last = (since, level, logger, attempt, head)
            lines.append(f"{head}{message if is_plain else _plain(message, masks)}\n")
        return "".join(lines)

    def _time(self, moment: int) -> str:
        """Return a time, in milliseconds since 1970, as text."""
        second, millisecond = divmod(moment, 1000)
        if second != self._second[0]:
            self._second = (second, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second)))
        return f"{self._second[1]}.{millisecond:03d}Z"

    def _place(self, level: str, logger: str) -> str:
        if (place := self._places.get((level, logger))) is None:
            place = f"{one_line(level, LONGEST_NAME)} | {one_line(logger, LONGEST_NAME)}"
            if len(self._places) >= MOST_PLACES:
                self._places.clear()
            self._places[level, logger] = place
        return place


def _name(level: int | str) -> str:
    return level if isinstance(level, str) else logging.getLevelName(level)


def _plain(message: str, masks: Masks) -> str:
    is_whole = len(message) <= LONGEST_TEXT
    text = masks.text(message) if is_whole else f"{masks.beginning(message)}…"
    return text if text.isprintable() else indented(text)


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
