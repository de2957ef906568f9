"""Service: take the lines that tasks log, and store them every second; imported only with ``AUTOTASK_LOGS``."""

import contextlib
import logging
import os
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection
from itertools import groupby, repeat, starmap
from operator import itemgetter
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import display
from autotask.context import TaskContext
from autotask.setting_types import LogOptions
from autotask.store import task_logs
from autotask.texts.masks import LONGEST_TEXT
from autotask.worker.log_pieces import MOST_LEFT, Attempt, Ended, Lines, Pieces
from autotask.worker.log_text import SHORTEST_LINE, Said, Texts, last_of, time_of, whole

logger = logging.getLogger("autotask.worker")

#: Seconds between two writes: the most that is missing of a worker that is killed.
EVERY = 1.0

#: Characters of lines after which the next attempt that ends makes texts of them. More would no longer be in the caches of the
#: processor; fewer would take longer for each line.
ENOUGH = 48 * 1024

#: Characters of lines without a text, or of ended attempts, after which the writer is hurried.
MUCH = 2**19

#: Characters of lines without a text at most; the oldest are lost first.
MOST_WAITING = 6 * 2**20

#: Attempts elsewhere whose pieces are remembered at most, so that each has no more than its share.
MOST_REMEMBERED = 2_000

#: Seconds between two looks for lines that are too old, and between two pieces of them.
PRUNE_EVERY = 600.0
PAUSE = 0.05

#: The seconds from 1970 until then.
YEAR_10000 = 253_402_300_800

#: Returns the attempt of a line, or its context.
_ATTEMPT = itemgetter(0)

#: Lines by their attempt: its context if it runs here.
_Groups = dict[TaskContext | Attempt, list[Said]]


class Line(NamedTuple):
    """A line of an attempt that runs elsewhere: in a child process, or in a thread of its own.

    :ivar created: when it was logged, in seconds since 1970.
    :ivar level: the name of its level.
    :ivar logger: the name of its logger.
    """

    attempt: Attempt
    created: float
    level: str
    logger: str
    message: str


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

    def say(self, context: TaskContext, created: float, level: int, logger: str, message: str) -> None:
        """Do the same for a line without a record."""
        attempt = (context.id, context.attempt)
        self._put(Line(attempt, created, logging.getLevelName(level), logger, message[: LONGEST_TEXT + 1]))

    def take_stray(self, attempt: Attempt, record: logging.LogRecord) -> None:
        """Do the same for a line of a thread that the task has started."""
        self._put(_line_of(attempt, record))

    def _put(self, line: Line) -> None:
        # A process that the task has forked has the same pipe, and would write between the bytes of the child.
        if os.getpid() == self._pid:
            self._send(line)


class LogBook:
    """Keeps lines in memory until they are stored. Any thread may add some; that takes no lock.

    A line is one more entry of a queue, and the end of an attempt costs nothing. Once many lines wait, the next attempt that
    ends makes texts of all of them: in a loop over many lines, each takes the processor half of the time, because it runs the
    same instructions again and again. The writer does the same each second.

    :param hurry: called when much waits.
    """

    doing = "store the logs of tasks"

    def __init__(self, options: LogOptions, hurry: Callable[[], None]) -> None:
        self.level = options.level
        self._options = options
        self._hurry = hurry
        self._pieces = Pieces(options.max)
        self._masks = display.masks()
        self._texts = Texts()
        #: The lines that have no text yet, about their characters, and how many of which attempts were forgotten.
        self._said: deque[Said] = deque()
        self._waiting, self._hurry_at = 0, MUCH
        self._forgotten: Counter[TaskContext | Attempt] = Counter()
        #: Held by the thread that makes texts.
        self._gathering = threading.Lock()
        #: The attempts here that were running when texts were made, and those elsewhere.
        self._here: dict[TaskContext, Lines] = {}
        self._elsewhere: OrderedDict[Attempt, Lines] = OrderedDict()
        #: The attempts that have ended, and the characters of their lines.
        self._ended: deque[Ended] = deque()
        self._ended_size, self._hurry_ended_at = 0, MUCH
        self._look_at = self._prune_at = time.monotonic()

    def take(self, context: TaskContext, record: logging.LogRecord) -> None:
        """Take a record of the attempt that runs where it was logged."""
        message = record.getMessage()
        if record.exc_info or record.stack_info or "task_name" in record.__dict__:
            message = whole(record, message)
        self.say(context, _moment_of(record), record.levelno, str(record.name), message)

    def say(self, context: TaskContext, created: float, level: int, logger: str, message: str) -> None:
        """Take a line of that attempt that is no more than its message. Tasks wait for each line."""
        if context.lines is None:
            context.lines = OVER if context.is_over else self
        if (size := len(message)) > LONGEST_TEXT:
            size, message = LONGEST_TEXT, message[: LONGEST_TEXT + 1]
        self._said.append((context, created, level, logger, message))
        waiting = self._waiting = self._waiting + size + SHORTEST_LINE
        if waiting > self._hurry_at:
            self._have_room()

    def take_stray(self, attempt: Attempt, record: logging.LogRecord) -> None:
        """Take a record of an attempt of this process that was logged outside of it."""
        self.put(_line_of(attempt, record))

    def put(self, line: Line) -> None:
        """Take a line of an attempt that runs elsewhere."""
        attempt, created, level, logger, message = line
        self._said.append((attempt, created, level, logger, message))
        self._waiting += len(message) + SHORTEST_LINE
        if self._waiting > self._hurry_at:
            self._have_room()

    def end(self) -> None:
        """Make texts of the lines that wait, if there are many: an attempt is over that has logged some."""
        # Here, and not at a line, where a task may be interrupted.
        if self._waiting > ENOUGH and self._gathering.acquire(blocking=False):
            try:
                self._gather()
            except Exception:  # whatever it is: the outcome of the attempt does not depend on lines
                logger.exception("Lines of tasks are lost")
            finally:
                self._gathering.release()

    def close(self) -> None:
        """Have the next run look at all attempts, since it is the last."""
        self._look_at = 0.0

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Store the lines that wait, and now and then delete old ones."""
        self._masks = display.masks()
        now = time.monotonic()
        with self._gathering:
            # In this order: of those that are over by now, all lines are gathered then.
            over = [context for context in self._here if context.is_over]
            self._gather()
            self._take_here(over, now)
            self._take_ended()
            self._take_elsewhere()
        self._pieces.store(connection)
        if now >= self._prune_at:
            if task_logs.prune(connection, self._options.keep):
                return PAUSE
            self._prune_at = now + PRUNE_EVERY
        return max(0.0, self._look_at - time.monotonic())

    def _have_room(self) -> None:
        """Hurry the writer, and forget the oldest lines as long as it does not come."""
        self._hurry_at = self._waiting + MUCH
        with contextlib.suppress(IndexError):  # Texts are being made of them.
            while self._waiting > MOST_WAITING:
                attempt, _, _, _, message = self._said.popleft()
                self._waiting -= len(message) + SHORTEST_LINE
                self._hurry_at = self._waiting + MUCH
                self._forgotten[attempt] += 1
        self._hurry()

    # --- only for the thread that holds the lock ------------------------------------------------------------------

    def _gather(self) -> None:
        """Make texts of the lines that wait."""
        self._waiting, self._hurry_at = 0, MUCH
        forgotten, self._forgotten = self._forgotten, Counter()
        groups: _Groups = {}
        _sort(self._said, groups)
        # In this order: of those that are over by now, all lines are sorted then.
        over = {key for key in groups if type(key) is TaskContext and key.is_over}
        _sort(self._said, groups)
        if strays := [key for key in groups if type(key) is tuple]:
            self._give(strays, groups)
        make, masks = self._texts.of, self._masks
        for key, said in groups.items():
            missing = forgotten[key] if forgotten else 0
            try:
                text = make(said, key.attempt if isinstance(key, TaskContext) else key[1], masks)
            except Exception:  # whatever it is: neither the worker nor other attempts depend on these lines
                logger.exception("The lines of task %s, attempt %d are lost", *_attempt_of(key))
                continue
            if key in over and key.lines is self and key not in self._here:
                self._put_ended(key, text, missing)
            else:
                self._lines_of(key).add(text, missing, self._options.max)

    def _give(self, strays: Collection[Attempt], groups: _Groups) -> None:
        """Give lines that were logged outside of their attempts to those that run here."""
        contexts = {_attempt_of(key): key for key in (*self._here, *groups) if type(key) is TaskContext}
        for attempt in strays:
            if (context := contexts.get(attempt)) is not None and context.lines is self:
                said = groups.setdefault(context, [])
                said += groups.pop(attempt)
                said.sort(key=time_of)

    def _lines_of(self, key: TaskContext | Attempt) -> Lines:
        """Return the lines of an attempt that runs, or runs elsewhere, or has threads that continue."""
        attempt = _attempt_of(key)
        lines: Lines
        if isinstance(key, TaskContext) and key.lines is self:
            lines = self._here.setdefault(key, Lines(attempt))
            return lines
        lines = self._elsewhere.setdefault(attempt, Lines(attempt))
        self._elsewhere.move_to_end(attempt)
        return lines

    def _put_ended(self, context: TaskContext, text: str, missing: int) -> None:
        """Have all lines of an attempt stored that has no pieces of its own.

        :param missing: how many lines it had before.
        """
        context.lines = OVER
        if missing or 4 * len(text) > self._options.max:  # No character has more than four bytes.
            text, cut = last_of(text, self._options.max)
            text = task_logs.after(missing + cut, text)
        self._ended.append((context.id.int, context.attempt, text))
        self._ended_size += len(text)
        if self._ended_size > self._hurry_ended_at:
            while self._ended_size > MOST_LEFT:
                self._ended_size -= len(self._ended.popleft()[2])
            self._hurry_ended_at = self._ended_size + MUCH
            self._hurry()

    def _take_here(self, over: Collection[TaskContext], now: float) -> None:
        """Take the lines of attempts that run, each second, and of those that are over."""
        for context in over:
            lines = self._here.pop(context)
            if lines.sizes is None:
                self._put_ended(context, lines.take(), lines.before)
            else:
                context.lines = OVER
                self._pieces.add(lines)
        if now >= self._look_at:
            self._look_at = now + EVERY
            for lines in self._here.values():
                self._pieces.add(lines)

    def _take_ended(self) -> None:
        ended, self._ended = self._ended, deque()
        self._ended_size, self._hurry_ended_at = 0, MUCH
        self._pieces.add_ended(list(ended))

    def _take_elsewhere(self) -> None:
        for lines in self._elsewhere.values():
            self._pieces.add(lines)
        while len(self._elsewhere) > MOST_REMEMBERED:
            self._elsewhere.popitem(last=False)


class _Over:
    """In place of the book, for an attempt whose lines are on their way to the database: later ones are stored elsewhere."""

    def end(self) -> None:
        """Do nothing."""


OVER = _Over()


def _line_of(attempt: Attempt, record: logging.LogRecord) -> Line:
    """Return the current text of a record, as much of it as is stored: its arguments may change later."""
    message = whole(record, record.getMessage())[: LONGEST_TEXT + 1]
    return Line(attempt, _moment_of(record), str(record.levelname), str(record.name), message)


def _moment_of(record: logging.LogRecord) -> float:
    """Return when a record was logged; now, if the maker of the record has put something there that no calendar has."""
    created: Any = record.created
    return created if isinstance(created, int | float) and 0 <= created < YEAR_10000 else time.time()


def _attempt_of(key: TaskContext | Attempt) -> Attempt:
    return (key.id, key.attempt) if isinstance(key, TaskContext) else key


def _sort(waiting: deque[Said], groups: _Groups) -> None:
    """Take the lines that wait, each to those of its attempt; other threads may add and forget some at the same time."""
    taken: list[Said] = []
    with contextlib.suppress(IndexError):  # A thread has forgotten the last of them.
        # In one step for all: a loop would take three times as long.
        taken.extend(starmap(waiting.popleft, repeat((), len(waiting))))
    for key, said in groupby(taken, _ATTEMPT):
        groups.setdefault(key, []).extend(said)
