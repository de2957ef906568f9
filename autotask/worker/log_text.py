"""The text of the lines that tasks log, as it is stored: secrets are masked, and no message can look like another line."""

import logging
import re
import time
from collections.abc import Sequence

from autotask.texts.lines import INDENT, indented, one_line
from autotask.texts.masks import LONGEST_TEXT, Masks

#: Characters of the names of a level and of a logger; a logger may be named after a key that somebody sent.
LONGEST_NAME = 200

#: Bytes of a line without any message.
SHORTEST_LINE = len("2026-01-01 00:00:00.000Z | 1 | INFO | x - \n")

#: When a line was logged in seconds since 1970, its level, its logger and its message. A plain tuple: each line of each task is
#: one.
Said = tuple[float, str, str, str]

_formatter = logging.Formatter()
_LINE_BEGINS = re.compile(rf"(?<=\n)(?!{INDENT})")


def said_by(record: logging.LogRecord) -> Said:
    """Return the current text of a record, as much of it as is stored: its arguments may change later."""
    return record.created, record.levelname, record.name, whole(record, record.getMessage())[: LONGEST_TEXT + 1]


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
    """Writes the lines of attempts.

    :param masks: recognise secrets.
    """

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._second = -1
        self._shown = ""
        self._places: dict[tuple[str, str], str] = {}

    def of(self, attempt: int, said: Sequence[Said]) -> str:
        """Return the lines of an attempt as one text."""
        messages = [message for _, _, _, message in said]
        # Most messages are plain; that is seen of all of them together.
        together = " ".join(messages)
        if not together.isprintable() or len(together) > LONGEST_TEXT or self._masks.suspect(together):
            messages = [self._plain(message) for message in messages]
        moment, level, logger, head = -1, "", "", ""
        made = []
        for (created, its_level, its_logger, _), message in zip(said, messages, strict=True):
            # Lines of the same millisecond begin alike.
            now = int(created * 1000)
            if now != moment or its_level is not level or its_logger is not logger:
                moment, level, logger = now, its_level, its_logger
                head = self._head(moment, attempt, level, logger)
            made.append(f"{head}{message}\n")
        return "".join(made)

    def _head(self, moment: int, attempt: int, level: str, logger: str) -> str:
        second, millisecond = divmod(moment, 1000)
        if second != self._second:
            self._second, self._shown = second, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
        if (place := self._places.get((level, logger))) is None:
            place = f"{one_line(level, LONGEST_NAME)} | {one_line(logger, LONGEST_NAME)}"
            self._places[level, logger] = place
        return f"{self._shown}.{millisecond:03d}Z | {attempt} | {place} - "

    def _plain(self, message: str) -> str:
        is_whole = len(message) <= LONGEST_TEXT
        text = self._masks.text(message) if is_whole else f"{self._masks.beginning(message)}…"
        return text if text.isprintable() else indented(text)


def size_of(text: str) -> int:
    """Return the bytes of a text in the database."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


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
