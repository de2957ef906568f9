"""Service: take the lines that tasks log, and store them every second; imported only with ``AUTOTASK_LOGS``."""

import contextlib
import logging
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import display
from autotask.context import TaskContext
from autotask.setting_types import LogOptions
from autotask.store import task_logs
from autotask.texts.masks import LONGEST_TEXT
from autotask.worker.log_pieces import MOST_LEFT, Attempt, Ended, Pieces
from autotask.worker.log_text import SHORTEST_LINE, Heads, Said, last_of, merged, text_of, time_of, whole

logger = logging.getLogger("autotask.worker")

#: Seconds between two writes: the most that is missing of a worker that is killed.
EVERY = 1.0

#: Characters of a long message from elsewhere, and how many of them wait at most; the oldest are lost first.
LONG = 200
MOST_LONG = 1_000

#: Lines from elsewhere that wait at most, and after how many the writer is hurried.
MOST_WAITING = 20_000
MANY = 5_000

#: Characters of attempts that have ended, after which the writer is hurried.
MUCH = 2**19

#: Attempts elsewhere whose pieces are remembered at most, so that each has no more than its share.
MOST_REMEMBERED = 2_000

#: Seconds between two looks for lines that are too old, and between two pieces of them.
PRUNE_EVERY = 600.0
PAUSE = 0.05

_Each = TypeVar("_Each")

#: A head that no line has; see :attr:`LogBook._head`.
_NO_HEAD = (-1.0, 0, "", 0, "")


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


class Lines:
    """The lines of one attempt.

    :param room: characters that may wait until the writer is hurried.
    :ivar said: those that wait. Any thread may append some.
    :ivar room: how many of these characters are left.
    :ivar is_crowded: whether the writer should look at once.
    :ivar is_mixed: whether these come from several places, so that they may not be in order.
    :ivar is_over: whether the attempt has ended.
    :ivar sizes: the bytes of the pieces that are stored already, oldest first; None: there are none but of ended attempts.
    """

    __slots__ = ("_book", "_turn", "attempt", "is_crowded", "is_mixed", "is_over", "room", "said", "sizes")

    def __init__(self, attempt: Attempt, room: int, book: "LogBook") -> None:
        self._book = book
        #: The thread of the attempt or the writer gets the item, and then makes the text.
        self._turn = [None]
        self.attempt = attempt
        self.said: deque[Said] = deque()
        self.room = room
        self.is_crowded = self.is_mixed = self.is_over = False
        self.sizes: list[int] | None = None

    def end(self, context: TaskContext) -> None:
        """Have them stored: the attempt is over."""
        self.is_over = True
        self._book.ended(context, self)

    def claim(self) -> bool:
        """Return whether the caller may make the text; nobody else may until :meth:`release`."""
        try:
            self._turn.pop()
        except IndexError:
            return False
        return True

    def release(self) -> None:
        """Let others make the text."""
        self._turn.append(None)

    def take(self) -> list[Said]:
        """Return the lines that wait, which no longer wait."""
        found = _drained(self.said)
        if self.is_mixed:
            found.sort(key=time_of)
            self.is_mixed = False
        return found


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

    The thread of an attempt makes one text of its lines when it ends: then they are still in the caches of the processor.
    The writer looks at attempts that run longer each second.

    :param hurry: called when many lines wait.
    """

    doing = "store the logs of tasks"

    def __init__(self, options: LogOptions, hurry: Callable[[], None]) -> None:
        self.level = options.level
        self._options = options
        self._hurry = hurry
        #: The characters of one attempt after which the writer is hurried.
        self._room = options.max // 2
        self._pieces = Pieces(options.max)
        self._masks = display.masks()
        self._heads = Heads()
        #: The head of the last line, and what it is made of: most lines of the next millisecond have the same.
        self._head: tuple[float, int, str, int, str] = _NO_HEAD
        #: Those of attempts that run in this process.
        self._here: dict[TaskContext, Lines] = {}
        #: Those of attempts that have ended, and about their characters.
        self._ended: deque[Ended] = deque()
        self._waiting, self._hurry_at = 0, MUCH
        #: The lines of other attempts, and those that nobody has sorted yet.
        self._elsewhere: OrderedDict[Attempt, Lines] = OrderedDict()
        self._strays: deque[tuple[Attempt, Said]] = deque(maxlen=MOST_WAITING)
        self._long_strays: deque[tuple[Attempt, Said]] = deque(maxlen=MOST_LONG)
        self._look_at = self._prune_at = time.monotonic()

    def take(self, context: TaskContext, record: logging.LogRecord) -> None:
        """Take a record of the attempt that runs where it was logged."""
        message = record.getMessage()
        if record.exc_info or record.stack_info or "task_name" in record.__dict__:
            message = whole(record, message)
        self.say(context, record.created, record.levelno, record.name, message)

    def say(self, context: TaskContext, created: float, level: int, logger: str, message: str) -> None:
        """Take a line of that attempt that is no more than its message. Tasks wait for each line."""
        lines: Lines | None = context.lines
        if lines is None:
            lines = context.lines = self._begin(context)
        since, its_level, its_logger, its_attempt, head = self._head
        if (
            not 0.0 <= created - since < 0.001
            or level != its_level
            or logger is not its_logger
            or context.attempt != its_attempt
        ):
            head = self._new_head(created, level, logger, context.attempt)
        lines.room -= len(message) + SHORTEST_LINE
        if lines.room < 0:
            message = self._make_room(lines, message)
        lines.said.append((head, message))
        if lines.is_over:  # A thread that it has left behind continues.
            self._late(lines)

    def take_stray(self, attempt: Attempt, record: logging.LogRecord) -> None:
        """Take a record of an attempt of this process that was logged outside of it."""
        self.put(_line_of(attempt, record))

    def put(self, line: Line) -> None:
        """Take a line of an attempt that runs elsewhere."""
        attempt, created, level, logger, message = line
        self._stray(attempt, (self._heads.head(int(created * 1000), attempt[1], level, logger), message))

    def ended(self, context: TaskContext, lines: Lines) -> None:
        """Have the lines of an attempt stored that is over, and was begun by :meth:`say`."""
        if self._here.get(context) is not lines or not lines.claim():
            return  # The writer has them, and looks at them again.
        if lines.sizes is not None:
            lines.release()  # It has pieces of its own.
            return
        self._here.pop(context, None)
        id, attempt = lines.attempt
        try:
            text = last_of(text_of(lines.take(), self._masks), self._options.max)
        except Exception:  # whatever it is: the outcome of the task does not depend on its lines
            logger.exception("The lines of task %s, attempt %d are lost", id, attempt)
            return
        self._ended.append((id.int, attempt, text))
        self._waiting += len(text)
        if self._waiting > self._hurry_at:
            with contextlib.suppress(IndexError):  # The writer takes them at this moment.
                while self._waiting > MOST_LEFT:
                    self._waiting -= len(self._ended.popleft()[2])
            self._hurry_at = self._waiting + MUCH
            self._hurry()

    def close(self) -> None:
        """Have the next run look at all attempts, since it is the last."""
        self._look_at = 0.0

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Store the lines that wait, and now and then delete old ones."""
        self._masks = display.masks()
        now = time.monotonic()
        self._waiting, self._hurry_at = 0, MUCH
        ended = _drained(self._ended)
        self._sort_strays(ended)
        self._take_here(now)
        for lines in self._elsewhere.values():
            self._pieces.add(lines, text_of(lines.take(), self._masks))
        while len(self._elsewhere) > MOST_REMEMBERED:
            self._elsewhere.popitem(last=False)
        self._pieces.add_ended(ended)
        self._pieces.store(connection)
        if now >= self._prune_at:
            if task_logs.prune(connection, self._options.keep):
                return PAUSE
            self._prune_at = now + PRUNE_EVERY
        return max(0.0, self._look_at - time.monotonic())

    def _begin(self, context: TaskContext) -> Lines:
        lines = Lines((context.id, context.attempt), self._room, self)
        if context.is_over:
            lines.is_over = True
            return lines
        # Other threads of the attempt get the same.
        return self._here.setdefault(context, lines)

    def _new_head(self, created: float, level: int, logger: str, attempt: int) -> str:
        moment = int(created * 1000)
        head = self._heads.head(moment, attempt, logging.getLevelName(level), logger)
        # At once, so that no thread ever sees a part of it.
        self._head = (moment / 1000, level, logger, attempt, head)
        return head

    def _make_room(self, lines: Lines, message: str) -> str:
        """Hurry the writer, forget lines that would not be stored, and return as much of a message as would be."""
        message = message[: LONGEST_TEXT + 1]
        lines.is_crowded = True
        lines.room = self._room
        waiting = len(message) + sum([SHORTEST_LINE + len(each) for _, each in lines.said.copy()])
        with contextlib.suppress(IndexError):  # They are being stored.
            while waiting > self._options.max:
                waiting -= SHORTEST_LINE + len(lines.said.popleft()[1])
        self._hurry()
        return message

    def _late(self, lines: Lines) -> None:
        """Take lines that were added to those of an attempt that was over, or ended just then."""
        for said in lines.take():
            self._stray(lines.attempt, said)

    def _stray(self, attempt: Attempt, said: Said) -> None:
        is_long = len(said[1]) > LONG
        waiting = self._long_strays if is_long else self._strays
        waiting.append((attempt, said))
        if len(waiting) == (MOST_LONG // 2 if is_long else MANY):
            self._hurry()

    def _sort_strays(self, ended: list[Ended]) -> None:
        """Give each line of an attempt elsewhere to those of its attempt, which may run here, or have just ended."""
        strays: dict[Attempt, list[Said]] = {}
        for waiting in (self._strays, self._long_strays):
            for attempt, said in _drained(waiting):
                strays.setdefault(attempt, []).append(said)
        if not strays:
            return
        here = {lines.attempt: lines for lines in list(self._here.values())}
        places = {(id, number): place for place, (id, number, _) in enumerate(ended)}
        for attempt, found in strays.items():
            id, number = attempt[0].int, attempt[1]
            found.sort(key=time_of)
            if (lines := here.get(attempt)) is not None:
                lines.is_mixed = True
                lines.said.extend(found)
                if not lines.claim():
                    self._late(lines)  # The thread of the attempt may have taken the others just before.
                    continue
                lines.release()  # A text that is made from now on has these, too.
            elif (place := places.get((id, number))) is not None:
                text = merged(ended[place][2], text_of(found, self._masks))
                ended[place] = (id, number, last_of(text, self._options.max))
            else:
                lines = self._elsewhere.setdefault(attempt, Lines(attempt, self._room, self))
                self._elsewhere.move_to_end(attempt)
                lines.said.extend(found)

    def _take_here(self, now: float) -> None:
        """Take the lines of attempts that run, each second, and at once where there are many."""
        if is_due := now >= self._look_at:
            self._look_at = now + EVERY
        for context, lines in list(self._here.items()):
            if not (is_due or lines.is_crowded or lines.is_over) or not lines.claim():
                continue
            if is_over := context.is_over:
                lines.is_over = True  # before its lines are taken: those who add some later see it
            lines.is_crowded = False
            lines.room = self._room
            try:
                self._pieces.add(lines, text_of(lines.take(), self._masks))
            finally:
                if is_over:
                    self._here.pop(context, None)
                else:
                    lines.release()


def _line_of(attempt: Attempt, record: logging.LogRecord) -> Line:
    """Return the current text of a record, as much of it as is stored: its arguments may change later."""
    message = whole(record, record.getMessage())[: LONGEST_TEXT + 1]
    return Line(attempt, record.created, record.levelname, record.name, message)


def _drained(waiting: deque[_Each]) -> list[_Each]:
    """Take those that wait; other threads may add and forget some at the same time."""
    found = []
    for _ in range(len(waiting)):
        try:
            found.append(waiting.popleft())
        except IndexError:  # A thread has forgotten the last of them.
            break
    return found
