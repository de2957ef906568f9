"""Service: take the lines that tasks log, and store them every second; imported only with ``AUTOTASK_LOGS``."""

import logging
import os
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import display
from autotask.setting_types import LogOptions
from autotask.store import task_logs
from autotask.store.task_logs import NewPiece
from autotask.texts.lines import indented, one_line
from autotask.texts.masks import LONGEST_TEXT, Masks

#: Seconds between two writes: the most that is missing of a worker that is killed.
EVERY = 1.0

#: Characters of the names of a level and of a logger; a logger may be named after a key that somebody sent.
LONGEST_NAME = 200

#: Lines that wait at most, the oldest are lost first; and after how many the writer is hurried.
MOST_WAITING = 50_000
MANY = 5_000

#: Bytes after which a statement is long enough.
LARGEST_STATEMENT = 2 * 2**20

#: Attempts whose pieces are remembered at most, so that each has no more than its share.
MOST_REMEMBERED = 10_000

#: An attempt has about that many pieces at most; its lines are forgotten piece by piece.
PIECES = 8

#: Seconds between two looks for lines that are too old, and between two pieces of them.
PRUNE_EVERY = 600.0
PAUSE = 0.05

#: A task and the number of an attempt.
Attempt = tuple[uuid.UUID, int]

_formatter = logging.Formatter()


class Line(NamedTuple):
    """A line of one attempt.

    :ivar created: seconds since 1970.
    """

    task_id: uuid.UUID
    attempt: int
    created: float
    level: str
    logger: str
    message: str


def line_of(attempt: Attempt, record: logging.LogRecord) -> Line:
    """Return the line of a record, as it is now: its arguments may change later."""
    message = record.getMessage()
    if (name := getattr(record, "task_name", None)) is not None:
        message = message.removeprefix(
            f"{name} {getattr(record, 'task_id', '')}: "
        )  # Everybody knows whose line it is.
    if record.exc_info and record.exc_info[0] is not None:
        try:
            message += f"\n{_formatter.formatException(record.exc_info)}"
        except Exception as error:  # The causes of an exception, or the name of its class, may raise.
            message += f"\n(its traceback cannot be shown: {type(error).__name__})"
    if record.stack_info:
        message += f"\n{record.stack_info}"
    return Line(*attempt, record.created, record.levelname, record.name, message[: LONGEST_TEXT + 1])


class Forwarder:
    """Sends the lines of a child process to its worker.

    :param send: sends one.
    """

    def __init__(self, options: LogOptions, send: Callable[[Line], None]) -> None:
        self.level = options.level
        self._send = send
        self._pid = os.getpid()

    def take(self, attempt: Attempt, record: logging.LogRecord) -> None:
        """Send a line at once: the child may be killed in the next moment."""
        # A process that the task has forked has the same pipe, and would write between the bytes of the child.
        if os.getpid() == self._pid:
            self._send(line_of(attempt, record))


class LogBook:
    """Keeps lines in memory until they are stored. Any thread may add some; that takes no lock.

    :param hurry: called when many lines wait.
    """

    doing = "store the logs of tasks"

    def __init__(self, options: LogOptions, hurry: Callable[[], None]) -> None:
        self.level = options.level
        self._options = options
        self._hurry = hurry
        self._waiting: deque[Line] = deque(maxlen=MOST_WAITING)
        self._unwritten: OrderedDict[Attempt, deque[str]] = OrderedDict()
        #: The ids and sizes of the stored pieces of attempts that may go on.
        self._stored: OrderedDict[Attempt, deque[tuple[int, int]]] = OrderedDict()
        self._prune_at = time.monotonic()

    def take(self, attempt: Attempt, record: logging.LogRecord) -> None:
        """Take a record of an attempt that runs in this process."""
        self.put(line_of(attempt, record))

    def put(self, line: Line) -> None:
        """Take a line."""
        self._waiting.append(line)
        if len(self._waiting) == MANY:
            self._hurry()

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Store the lines that wait, and now and then delete old ones."""
        self._sort()
        if self._unwritten:
            self._write(connection)
        if (now := time.monotonic()) >= self._prune_at:
            if task_logs.prune(connection, self._options.keep):
                return PAUSE
            self._prune_at = now + PRUNE_EVERY
        return EVERY

    def _sort(self) -> None:
        text_of = _Texts(display.masks()).of
        for _ in range(len(self._waiting)):
            line = self._waiting.popleft()
            attempt = line[:2]
            if (lines := self._unwritten.get(attempt)) is None:
                lines = self._unwritten[attempt] = deque()
            lines.append(text_of(line))
        while sum(map(len, self._unwritten.values())) > MOST_WAITING:
            self._unwritten.popitem(last=False)

    def _write(self, connection: BaseDatabaseWrapper) -> None:
        """Store the lines that are not stored yet, as many with each statement as it should have."""
        pieces: list[NewPiece] = []
        outdated: list[int] = []
        size = 0
        for attempt in list(self._unwritten):
            new = self._pieces(self._unwritten[attempt])
            size += (added := sum(map(_size, new)))
            outdated += self._make_room(attempt, added)
            pieces += [NewPiece(*attempt, text) for text in new]
            if size >= LARGEST_STATEMENT:
                self._store(connection, pieces, outdated)
                pieces, outdated, size = [], [], 0
        if pieces:
            self._store(connection, pieces, outdated)

    def _store(self, connection: BaseDatabaseWrapper, pieces: list[NewPiece], outdated: list[int]) -> None:
        ids = task_logs.write(connection, pieces, outdated)
        for (task_id, attempt, text), id in zip(pieces, ids, strict=True):
            self._unwritten.pop((task_id, attempt), None)
            self._remember((task_id, attempt), id, _size(text))

    def _pieces(self, lines: deque[str]) -> list[str]:
        """Join lines, the last ones, as many as an attempt may have."""
        left, most = self._options.max, max(1, self._options.max // PIECES)
        if _size(whole := "".join(lines)) <= most:  # as nearly always
            return [whole]
        found: deque[deque[str]] = deque([deque()])
        size = 0
        for line in reversed(lines):
            if (left := left - _size(line)) < 0:
                break
            if size and size + _size(line) > most:
                found.appendleft(deque())
                size = 0
            found[0].appendleft(line)
            size += _size(line)
        return ["".join(each) for each in found if each]

    def _make_room(self, attempt: Attempt, size: int) -> list[int]:
        """Forget the oldest pieces of an attempt, until one of that size fits; return their ids."""
        outdated: list[int] = []
        if (stored := self._stored.get(attempt)) is None:
            return outdated
        while stored and sum(each for _, each in stored) + size > self._options.max:
            outdated.append(stored.popleft()[0])
        return outdated

    def _remember(self, attempt: Attempt, id: int, size: int) -> None:
        self._stored.setdefault(attempt, deque()).append((id, size))
        self._stored.move_to_end(attempt)
        while len(self._stored) > MOST_REMEMBERED:
            self._stored.popitem(last=False)


class _Texts:
    """Writes lines as they are stored: secrets are masked, and no message can look like another line."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._second = -1
        self._shown = ""

    def of(self, line: Line) -> str:
        """Return a line."""
        _task_id, attempt, created, level, logger, message = line
        if (second := int(created)) != self._second:
            self._second, self._shown = second, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
        text = self._masks.text(message[:LONGEST_TEXT])
        if len(message) > LONGEST_TEXT:
            text += "…"
        if not text.isprintable():
            text = indented(text)
        where = f"{one_line(level, LONGEST_NAME)} | {one_line(logger, LONGEST_NAME)}"
        return f"{self._shown}.{int((created - second) * 1000):03d}Z | {attempt} | {where} - {text}\n"


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
