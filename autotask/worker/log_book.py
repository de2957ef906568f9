"""Service: take the lines that tasks log, and store them every second; imported only with ``AUTOTASK_LOGS``."""

import contextlib
import logging
import os
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from operator import attrgetter, itemgetter
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import display
from autotask.context import TaskContext
from autotask.setting_types import LogOptions
from autotask.store import task_logs
from autotask.texts.masks import LONGEST_TEXT
from autotask.worker.log_text import SHORTEST_LINE, Said, Texts, last_pieces, said_by, size_of, whole

#: Seconds between two writes: the most that is missing of a worker that is killed.
EVERY = 1.0

#: Characters of a long message, and how many of them from threads and processes wait at most; the oldest are lost first.
LONG = 200
MOST_LONG = 1_000

#: Lines that wait at most, of one attempt and of all that run elsewhere; and after how many the writer is hurried.
MOST_WAITING = 20_000
MANY = 5_000

#: After how many attempts that have logged, the writer is hurried.
MANY_ATTEMPTS = 1_000

#: Bytes after which a statement is long enough.
LARGEST_STATEMENT = 2 * 2**20

#: Characters of lines that could not be stored and are tried again.
MOST_LEFT = 16 * 2**20

#: Attempts elsewhere whose pieces are remembered at most, so that each has no more than its share.
MOST_REMEMBERED = 2_000

#: An attempt has about that many pieces at most; its lines are forgotten piece by piece.
PIECES = 8

#: Seconds between two looks for lines that are too old, and between two pieces of them.
PRUNE_EVERY = 600.0
PAUSE = 0.05

#: A task and the number of an attempt.
Attempt = tuple[uuid.UUID, int]


class Line(NamedTuple):
    """A line of an attempt that runs elsewhere: in a child process, or in a thread of its own."""

    attempt: Attempt
    said: Said


class Lines:
    """The lines of one attempt.

    :param most: how many may wait; the oldest are forgotten first.
    :ivar said: those that wait. Any thread may append some.
    :ivar long: characters of the long ones that wait, or a little more.
    :ivar is_mixed: whether these come from several places, so that they may not be in order.
    :ivar left: those that are stored next, as text.
    :ivar sizes: the bytes of the pieces that are stored already, oldest first.
    """

    __slots__ = ("attempt", "is_mixed", "left", "long", "said", "sizes")

    def __init__(self, attempt: Attempt, most: int) -> None:
        self.attempt = attempt
        self.said: deque[Said] = deque(maxlen=most)
        self.long = 0
        self.is_mixed = False
        self.left = ""
        self.sizes: list[int] | None = None

    def take(self) -> list[Said]:
        """Return the lines that wait, which no longer wait."""
        self.long = 0
        found: list[Said] = []
        with contextlib.suppress(IndexError):  # The task forgets some at this moment.
            found += (self.said.popleft() for _ in range(len(self.said)))
        if self.is_mixed:
            found.sort(key=itemgetter(0))
            self.is_mixed = False
        return found

    def shorten(self, most: int) -> None:
        """Forget the oldest lines that wait, until the long ones have at most this many characters."""
        while self.long > most:
            try:
                oldest = self.said.popleft()
            except IndexError:  # They are being stored.
                self.long = 0
                return
            if (length := len(oldest[3])) > LONG:
                self.long -= length


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

    def say(self, context: TaskContext, created: float, level: str, logger: str, message: str) -> None:
        """Do the same for a line without a record."""
        self._put(Line((context.id, context.attempt), (created, level, logger, message[: LONGEST_TEXT + 1])))

    def take_stray(self, attempt: Attempt, record: logging.LogRecord) -> None:
        """Do the same for a line of a thread that the task has started."""
        self._put(Line(attempt, said_by(record)))

    def _put(self, line: Line) -> None:
        # A process that the task has forked has the same pipe, and would write between the bytes of the child.
        if os.getpid() == self._pid:
            self._send(line)


class LogBook:
    """Keeps lines in memory until they are stored. Any thread may add some; that takes no lock.

    :param hurry: called when many lines wait.
    """

    doing = "store the logs of tasks"

    def __init__(self, options: LogOptions, hurry: Callable[[], None]) -> None:
        self.level = options.level
        self._options = options
        self._hurry = hurry
        #: More would not be stored.
        self._most = min(MOST_WAITING, 1 + options.max // SHORTEST_LINE)
        self._many = min(MANY, 1 + self._most // 2)
        #: Those of attempts that run in this process.
        self._here: dict[TaskContext, Lines] = {}
        #: Those of others, and their lines that nobody has sorted yet.
        self._elsewhere: OrderedDict[Attempt, Lines] = OrderedDict()
        self._strays: deque[Line] = deque(maxlen=MOST_WAITING)
        self._long_strays: deque[Line] = deque(maxlen=MOST_LONG)
        self._prune_at = time.monotonic()

    def take(self, context: TaskContext, record: logging.LogRecord) -> None:
        """Take a record of the attempt that runs where it was logged."""
        # As said_by() does. Tasks wait for each line.
        message = record.getMessage()
        if record.exc_info or record.stack_info or "task_name" in record.__dict__:
            message = whole(record, message)
        self.say(context, record.created, record.levelname, record.name, message)

    def say(self, context: TaskContext, created: float, level: str, logger: str, message: str) -> None:
        """Take a line of that attempt that is no more than its message."""
        if (lines := self._here.get(context)) is None:
            if context.is_over:  # A thread that it has left behind continues.
                self.put(Line((context.id, context.attempt), (created, level, logger, message[: LONGEST_TEXT + 1])))
                return
            lines = self._begin(context)
        if len(message) > LONG:
            message = self._long(lines, message)
        said = lines.said
        said.append((created, level, logger, message))
        if len(said) == self._many:
            self._hurry()

    def take_stray(self, attempt: Attempt, record: logging.LogRecord) -> None:
        """Take a record of an attempt of this process that was logged outside of it."""
        self.put(Line(attempt, said_by(record)))

    def put(self, line: Line) -> None:
        """Take a line of an attempt that runs elsewhere."""
        is_long = len(line.said[3]) > LONG
        waiting = self._long_strays if is_long else self._strays
        waiting.append(line)
        if len(waiting) == (MOST_LONG // 2 if is_long else MANY):
            self._hurry()

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Store the lines that wait, and now and then delete old ones."""
        self._sort_strays()
        over = [context for context in list(self._here) if context.is_over]
        found = [*self._here.values(), *self._elsewhere.values()]
        _forget_oldest([lines for lines in found if lines.left])
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
        return self._here.setdefault(context, Lines((context.id, context.attempt), self._most))

    def _long(self, lines: Lines, message: str) -> str:
        """Make room for a long message, and return as much of it as is stored."""
        message = message[: LONGEST_TEXT + 1]
        most, before = self._options.max, lines.long
        lines.long = before + len(message)
        if before <= most // 2 < lines.long:
            self._hurry()
        if lines.long > most:
            lines.shorten(most)
        return message

    def _sort_strays(self) -> None:
        """Give each line of an attempt elsewhere to those of its attempt."""
        strays = [waiting.popleft() for waiting in (self._strays, self._long_strays) for _ in range(len(waiting))]
        if not strays:
            return
        strays.sort(key=_logged_at)
        here = {lines.attempt: lines for lines in list(self._here.values())}
        for attempt, said in strays:
            if (lines := here.get(attempt)) is None:
                lines = self._elsewhere.setdefault(attempt, Lines(attempt, self._most))
                self._elsewhere.move_to_end(attempt)
            else:
                lines.is_mixed = True
            lines.said.append(said)

    def _write(self, connection: BaseDatabaseWrapper, found: Iterable[Lines]) -> None:
        """Store the lines that wait, as many with each statement as it should have."""
        texts_of = Texts(display.masks()).of
        batch: list[tuple[Lines, str, int]] = []
        total = 0
        for lines in found:
            if lines.said:
                lines.left += texts_of(lines.attempt[1], lines.take())
            if not lines.left:
                continue
            for text, size in self._pieces(lines):
                batch.append((lines, text, size))
                total += size
            if total >= LARGEST_STATEMENT:
                self._store(connection, batch)
                batch, total = [], 0
        if batch:
            self._store(connection, batch)

    def _pieces(self, lines: Lines) -> list[tuple[str, int]]:
        """Return the texts to be stored and their sizes: the last lines, as many as an attempt may have."""
        most = self._options.max
        piece = max(1, most // PIECES)
        if (size := size_of(lines.left)) <= piece:  # as nearly always
            return [(lines.left, size)]
        pieces = last_pieces(lines.left, piece, most)
        lines.left = "".join(pieces)
        return [(text, size_of(text)) for text in pieces]

    def _store(self, connection: BaseDatabaseWrapper, batch: list[tuple[Lines, str, int]]) -> None:
        task_logs.write(connection, [(*lines.attempt, text) for lines, text, _ in batch])
        full: dict[Attempt, Lines] = {}
        for lines, _, size in batch:
            lines.left = ""
            if (sizes := lines.sizes) is None:
                lines.sizes = [size]
                continue
            sizes.append(size)
            if sum(sizes) > self._options.max:
                full[lines.attempt] = lines
        if full:
            self._forget(connection, full)

    def _forget(self, connection: BaseDatabaseWrapper, full: dict[Attempt, Lines]) -> None:
        """Delete the oldest pieces of attempts that have logged more than they may have."""
        outdated: list[tuple[uuid.UUID, int, int]] = []
        for attempt, lines in full.items():
            sizes = lines.sizes or []
            total, count = sum(sizes), 0
            while total > self._options.max:
                total -= sizes[count]
                count += 1
            outdated.append((*attempt, count))
        task_logs.forget(connection, outdated)
        for lines, (_, _, count) in zip(full.values(), outdated, strict=True):
            del (lines.sizes or [])[:count]


def _forget_oldest(left: list[Lines]) -> None:
    """Forget lines that could not be stored the last time, if there are too many."""
    waiting = sum(len(lines.left) for lines in left)
    for lines in left:
        if waiting <= MOST_LEFT:
            return
        waiting -= len(lines.left)
        lines.left = ""


_logged_at = attrgetter("said")
