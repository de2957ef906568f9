"""Service: take the lines that tasks log, and store them every second; imported only with ``AUTOTASK_LOGS``."""

import logging
import os
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import display
from autotask.context import TaskContext
from autotask.setting_types import LogOptions
from autotask.store import task_logs
from autotask.store.task_logs import NewPiece
from autotask.texts.lines import indented, one_line
from autotask.texts.masks import LONGEST_TEXT, Masks

#: Seconds between two writes: the most that is missing of a worker that is killed.
EVERY = 1.0

#: Characters of the names of a level and of a logger; a logger may be named after a key that somebody sent.
LONGEST_NAME = 200

#: Lines that wait at most, the oldest are lost first; and after how many of one attempt the writer is hurried.
MOST_WAITING = 50_000
MANY = 5_000

#: After how many attempts that have logged, the writer is hurried.
MANY_ATTEMPTS = 1_000

#: Bytes after which a statement is long enough.
LARGEST_STATEMENT = 2 * 2**20

#: Attempts elsewhere whose pieces are remembered at most, so that each has no more than its share.
MOST_REMEMBERED = 10_000

#: An attempt has about that many pieces at most; its lines are forgotten piece by piece.
PIECES = 8

#: Seconds between two looks for lines that are too old, and between two pieces of them.
PRUNE_EVERY = 600.0
PAUSE = 0.05

#: A task and the number of an attempt.
Attempt = tuple[uuid.UUID, int]

#: When a line was logged in seconds since 1970, its level, its logger and its message. A plain tuple: each line of each task is
#: one.
Said = tuple[float, str, str, str]

_formatter = logging.Formatter()


class Line(NamedTuple):
    """A line of an attempt that runs elsewhere: in a child process, or in a thread of its own."""

    attempt: Attempt
    said: Said


class Lines:
    """The lines of one attempt.

    :ivar said: those that wait. Any thread may append some.
    :ivar is_mixed: whether these come from several places, so that they may not be in order.
    :ivar texts: those that are written next, as they are stored.
    :ivar pieces: the ids and sizes of what is stored already, oldest first.
    """

    __slots__ = ("attempt", "is_mixed", "pieces", "said", "texts")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.said: list[Said] = []
        self.is_mixed = False
        self.texts: list[str] | None = None
        self.pieces: deque[tuple[int, int]] | None = None

    def take(self) -> list[Said]:
        """Return the lines that wait, which no longer wait."""
        found = self.said[:]
        del self.said[: len(found)]
        if self.is_mixed:
            found.sort(key=itemgetter(0))
            self.is_mixed = False
        return found

    def make_room(self, size: int, most: int) -> list[int]:
        """Forget the oldest pieces, until one of that size fits; return their ids."""
        outdated: list[int] = []
        while self.pieces and sum(each for _, each in self.pieces) + size > most:
            outdated.append(self.pieces.popleft()[0])
        return outdated


def said_by(record: logging.LogRecord) -> Said:
    """Return the current text of a record, as much of it as is stored: its arguments may change later."""
    message = record.getMessage()
    if record.exc_info or record.stack_info or "task_name" in record.__dict__:
        message = _whole(record, message)
    return record.created, record.levelname, record.name, message[: LONGEST_TEXT + 1]


def _whole(record: logging.LogRecord, message: str) -> str:
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
    return message


class Forwarder:
    """Sends the lines of a child process to its worker.

    :param send: sends one.
    """

    def __init__(self, options: LogOptions, send: Callable[[Line], None]) -> None:
        self.level = options.level
        self._send = send
        self._pid = os.getpid()

    def take(self, context: TaskContext, record: logging.LogRecord) -> None:
        """Send a line at once: the child may be killed in the next moment."""
        self.take_stray((context.id, context.attempt), record)

    def take_stray(self, attempt: Attempt, record: logging.LogRecord) -> None:
        """Do the same for a line of a thread that the task has started."""
        # A process that the task has forked has the same pipe, and would write between the bytes of the child.
        if os.getpid() == self._pid:
            self._send(Line(attempt, said_by(record)))


class LogBook:
    """Keeps lines in memory until they are stored. Any thread may add some; that takes no lock.

    :param hurry: called when many lines wait.
    """

    doing = "store the logs of tasks"

    def __init__(self, options: LogOptions, hurry: Callable[[], None]) -> None:
        self.level = options.level
        self._options = options
        self._hurry = hurry
        #: Those of attempts that run in this process.
        self._here: dict[TaskContext, Lines] = {}
        #: Those of others, and their lines that nobody has sorted yet.
        self._elsewhere: OrderedDict[Attempt, Lines] = OrderedDict()
        self._strays: deque[Line] = deque(maxlen=MOST_WAITING)
        self._prune_at = time.monotonic()

    def take(self, context: TaskContext, record: logging.LogRecord) -> None:
        """Take a record of the attempt that runs where it was logged."""
        if (lines := self._here.get(context)) is None:
            if context.is_over:  # A thread that it has left behind continues.
                self.take_stray((context.id, context.attempt), record)
                return
            lines = self._begin(context)
        # said_by() inlined: tasks wait for each line.
        message = record.getMessage()
        if record.exc_info or record.stack_info or "task_name" in record.__dict__:
            message = _whole(record, message)
        said = lines.said
        said.append((record.created, record.levelname, record.name, message[: LONGEST_TEXT + 1]))
        if len(said) >= MANY:
            self._many(said)

    def take_stray(self, attempt: Attempt, record: logging.LogRecord) -> None:
        """Take a record of an attempt of this process that was logged outside of it."""
        self.put(Line(attempt, said_by(record)))

    def put(self, line: Line) -> None:
        """Take a line of an attempt that runs elsewhere."""
        self._strays.append(line)
        if len(self._strays) == MANY:
            self._hurry()

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Store the lines that wait, and now and then delete old ones."""
        self._sort_strays()
        over = [context for context in list(self._here) if context.is_over]
        found = [*self._here.values(), *self._elsewhere.values()]
        self._forget_oldest([lines for lines in found if lines.texts])
        self._write(connection, found)
        for context in over:
            del self._here[context]  # It was over before we looked, so all its lines are stored.
        while len(self._elsewhere) > MOST_REMEMBERED:
            self._elsewhere.popitem(last=False)
        if (now := time.monotonic()) >= self._prune_at:
            if task_logs.prune(connection, self._options.keep):
                return PAUSE
            self._prune_at = now + PRUNE_EVERY
        return EVERY

    def _begin(self, context: TaskContext) -> Lines:
        if len(self._here) % MANY_ATTEMPTS == MANY_ATTEMPTS - 1:
            self._hurry()
        return self._here.setdefault(context, Lines((context.id, context.attempt)))

    def _many(self, said: list[Said]) -> None:
        if len(said) % MANY == 0:
            self._hurry()
        if len(said) >= MOST_WAITING:
            del said[:MANY]

    def _sort_strays(self) -> None:
        if not self._strays:
            return
        here = {lines.attempt: lines for lines in list(self._here.values())}
        for _ in range(len(self._strays)):
            attempt, said = self._strays.popleft()
            if (lines := here.get(attempt)) is None:
                lines = self._elsewhere.setdefault(attempt, Lines(attempt))
                self._elsewhere.move_to_end(attempt)
            else:
                lines.is_mixed = True
            lines.said.append(said)

    @staticmethod
    def _forget_oldest(left: list[Lines]) -> None:
        """Forget lines that could not be stored the last time, if there are too many."""
        waiting = sum(len(lines.texts or ()) for lines in left)
        for lines in left:
            if waiting <= MOST_WAITING:
                return
            waiting -= len(lines.texts or ())
            lines.texts = None

    def _write(self, connection: BaseDatabaseWrapper, found: list[Lines]) -> None:
        """Store the lines that wait, as many with each statement as it should have."""
        texts_of = _Texts(display.masks()).of
        batch: list[tuple[Lines, str]] = []
        outdated: list[int] = []
        size = 0
        for lines in found:
            if said := lines.take():
                lines.texts = (lines.texts or []) + texts_of(lines.attempt[1], said)
            elif not lines.texts:
                continue
            if not (new := self._pieces(lines.texts)):  # its last line is longer than all may be
                lines.texts = None
                continue
            size += (added := sum(map(_size, new)))
            outdated += lines.make_room(added, self._options.max)
            batch += [(lines, text) for text in new]
            if size >= LARGEST_STATEMENT:
                self._store(connection, batch, outdated)
                batch, outdated, size = [], [], 0
        if batch:
            self._store(connection, batch, outdated)

    def _store(self, connection: BaseDatabaseWrapper, batch: list[tuple[Lines, str]], outdated: list[int]) -> None:
        ids = task_logs.write(connection, [NewPiece(*lines.attempt, text) for lines, text in batch], outdated)
        for (lines, text), id in zip(batch, ids, strict=True):
            lines.texts = None
            if lines.pieces is None:
                lines.pieces = deque()
            lines.pieces.append((id, _size(text)))

    def _pieces(self, texts: list[str]) -> list[str]:
        """Join lines, the last ones, as many as an attempt may have."""
        left, most = self._options.max, max(1, self._options.max // PIECES)
        if _size(whole := "".join(texts)) <= most:  # as nearly always
            return [whole]
        found: deque[deque[str]] = deque([deque()])
        size = 0
        for text in reversed(texts):
            if (left := left - _size(text)) < 0:
                break
            if size and size + _size(text) > most:
                found.appendleft(deque())
                size = 0
            found[0].appendleft(text)
            size += _size(text)
        return ["".join(each) for each in found if each]


class _Texts:
    """Writes lines as they are stored: secrets are masked, and no message can look like another line."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._second = -1
        self._shown = ""
        self._places: dict[tuple[str, str], str] = {}

    def of(self, attempt: int, said: list[Said]) -> list[str]:
        """Return the lines of an attempt."""
        # Most messages are plain; that is seen of all of them together.
        together = " ".join([message for *_, message in said])
        if not together.isprintable() or len(together) > LONGEST_TEXT or self._masks.suspect(together):
            said = [(created, level, logger, self._plain(message)) for created, level, logger, message in said]
        second, shown, places = self._second, self._shown, self._places
        made = []
        for created, level, logger, message in said:
            if (now := int(created)) != second:
                second, shown = now, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
            if (place := places.get((level, logger))) is None:
                place = self._place(level, logger)
            made.append(f"{shown}.{int((created - second) * 1000):03d}Z | {attempt} | {place} - {message}\n")
        self._second, self._shown = second, shown
        return made

    def _plain(self, message: str) -> str:
        is_whole = len(message) <= LONGEST_TEXT
        text = self._masks.text(message) if is_whole else f"{self._masks.beginning(message)}…"
        return text if text.isprintable() else indented(text)

    def _place(self, level: str, logger: str) -> str:
        place = f"{one_line(level, LONGEST_NAME)} | {one_line(logger, LONGEST_NAME)}"
        return self._places.setdefault((level, logger), place)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
