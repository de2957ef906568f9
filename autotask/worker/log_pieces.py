"""Pieces of log lines that wait to be stored."""

import uuid
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import task_logs
from autotask.store.task_logs import NewPiece, alone, count, marked
from autotask.task import uuid_of
from autotask.worker.log_text import last_of, last_pieces, size_of

#: Bytes after which a statement is long enough.
LARGEST_STATEMENT = 2 * 2**20

#: Characters of lines that could not be stored and are tried again.
MOST_LEFT = 16 * 2**20

#: An attempt has about that many pieces at most; its lines are forgotten piece by piece.
PIECES = 8

#: A task and the number of an attempt.
Attempt = tuple[uuid.UUID, int]

#: An attempt that is over: the number of its task, its own, and all its lines.
Ended = tuple[int, int, str]


class Lines:
    """The lines of one attempt that runs, or runs elsewhere.

    :ivar before: how many lines it had before those that wait.
    :ivar sizes: the bytes of the pieces that are stored already, oldest first; None: there are none.
    """

    __slots__ = ("_size", "_texts", "attempt", "before", "sizes")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.before = 0
        self.sizes: list[int] | None = None
        #: Those that wait, and their characters.
        self._texts: list[str] = []
        self._size = 0

    def add(self, text: str, missing: int, most: int) -> None:
        """Add the next lines.

        :param missing: how many were forgotten just before.
        :param most: bytes of all lines that are stored; twice as many characters may wait.
        """
        self.before += missing
        self._texts.append(text)
        self._size += len(text)
        if self._size > 2 * most:
            text, cut = last_of("".join(self._texts), most)
            self.before += cut
            self._texts, self._size = [text], len(text)

    def take(self) -> str:
        """Return those that wait, which no longer wait."""
        texts, self._texts, self._size = self._texts, [], 0
        return "".join(texts)


class _Waiting(NamedTuple):
    """A piece that waits.

    :ivar size: its bytes.
    :ivar of: the attempt whose own it is; None: it has those of several.
    """

    piece: NewPiece
    size: int
    of: Lines | None


class Pieces:
    """Stores pieces in their order. Only the writer calls it.

    :param most: bytes of all lines of one attempt; the oldest pieces are forgotten first.
    :ivar size: bytes of one piece of an attempt, unless a single line has more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = max(1, most // PIECES)
        self.waiting: deque[_Waiting] = deque()

    def add(self, lines: Lines) -> None:
        """Add those of an attempt that wait: the last of them, as many as it may have."""
        if not (text := lines.take()):
            return
        if lines.sizes is None:
            lines.sizes = []
        texts = [text] if size_of(text) <= self.size else last_pieces(text, self.size, self._most)
        lines.before += count(text) - sum(map(count, texts))
        for each in texts:
            self.waiting.append(_Waiting(alone(*lines.attempt, each, lines.before), size_of(each), lines))
            lines.before += count(each)

    def add_ended(self, ended: list[Ended]) -> None:
        """Add all lines of attempts that are over, and have no pieces of their own."""
        ended.sort()
        texts: list[str] = []
        size, first, last = 0, 0, 0
        for id, attempt, lines in ended:
            if texts and (size > task_logs.LARGE or id >> task_logs.SAME_TIME != first >> task_logs.SAME_TIME):
                self._add_shared(first, last, texts)
                texts, size = [], 0
            if not texts:
                first = id
            texts.append(marked(id, attempt, lines))
            size += len(lines)
            last = id
        if texts:
            self._add_shared(first, last, texts)

    def store(self, connection: BaseDatabaseWrapper) -> None:
        """Store those that wait, as many with each statement as it should have."""
        left = sum(each.size for each in self.waiting)
        while left > MOST_LEFT:
            left -= self.waiting.popleft().size
        while self.waiting:
            batch: list[_Waiting] = []
            size = 0
            for each in self.waiting:
                if size >= LARGEST_STATEMENT:
                    break
                batch.append(each)
                size += each.size
            task_logs.write(connection, [each.piece for each in batch])
            for _ in batch:
                self.waiting.popleft()
            self._forget(connection, batch)

    def _add_shared(self, first: int, last: int, texts: Sequence[str]) -> None:
        text = "".join(texts)
        self.waiting.append(_Waiting(NewPiece(uuid_of(first), uuid_of(last), text), len(text), None))

    def _forget(self, connection: BaseDatabaseWrapper, batch: list[_Waiting]) -> None:
        """Delete the oldest pieces of attempts that have logged more than they may have."""
        own = {each.of.attempt: each.of for each in batch if each.of is not None}
        for _, size, attempt in batch:
            if attempt is not None and attempt.sizes is not None:
                attempt.sizes.append(size)
        outdated: list[tuple[uuid.UUID, int, int]] = []
        for attempt in own.values():
            sizes = attempt.sizes or []
            total, count = sum(sizes), 0
            while total > self._most:
                total -= sizes[count]
                count += 1
            if count:
                outdated.append((*attempt.attempt, count))
        if outdated:
            task_logs.forget(connection, outdated)
        for id, number, count in outdated:
            del (own[id, number].sizes or [])[:count]
