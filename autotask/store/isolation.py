"""One statement for many items: if the database refuses one of them, the others continue without it."""

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from autotask.store.errors import Trouble, trouble_of
from autotask.texts.lines import describe, one_line

logger = logging.getLogger("autotask.worker")

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)
R = TypeVar("R")

#: After this many refusals in a row, the database is probably at fault, not the rows. Then nothing is taken apart for a
#: while, twice as long each time; after that, only a few are tried.
MOST_IN_A_ROW = 100
FEW_IN_A_ROW = 10
FIRST_REST = 60.0
LONGEST_REST = 240.0

#: Seconds for which an item that is refused on its own is left alone, twice as long each time.
FIRST_SPARE = 60.0
LONGEST_SPARE = 900.0

#: The same for items not tried on their own, since all before them were refused.
UNTRIED_SPARE = 240.0

#: At most this many items are left alone; the oldest one is tried again before its time.
MOST_SPARED = 10_000


class Isolation:
    """Finds the items that the database refuses on their own.

    An error that clearly concerns the rows of a statement is a refusal at once. One that may concern the state of the
    server or of the session is raised, for the caller to connect again and wait, and is a refusal if the next try meets
    such an error too. An outage is never one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._doubted = False
        self._in_a_row = 0
        self._most = MOST_IN_A_ROW
        self._rest = FIRST_REST
        self._rest_until = float("-inf")

    def run(
        self, items: Sequence[T], act: Callable[[Sequence[T]], R], refused: Callable[[T, Exception], object]
    ) -> list[R]:
        """Act on all items at once; if the database refuses that, on halves, and so on.

        :param act: runs one statement, without effect if it fails.
        :param refused: called with each item that is refused on its own.
        :returns: the result of *act* for each accepted statement.
        :raises Exception: any error that is not a refusal. Acting again on all items must be harmless.
        """
        return self.run_found(lambda: act(items), lambda: items, act, refused)

    def run_found(
        self,
        whole: Callable[[], R],
        find: Callable[[], Sequence[T]],
        act: Callable[[Sequence[T]], R],
        refused: Callable[[T, Exception], object],
    ) -> list[R]:
        """Like :meth:`run`, for a statement that finds its own rows.

        :param whole: runs that statement.
        :param find: returns the items that the statement would act on; called only after a refusal.
        """
        try:
            done = whole()
        except Exception as error:
            if not self._is_refusal(error):
                raise
        else:
            self.accepted()
            self._doubted = False
            return [done]
        results = self._apart(find(), act, refused)
        self._doubted = False
        return results

    def _apart(
        self, items: Sequence[T], act: Callable[[Sequence[T]], R], refused: Callable[[T, Exception], object]
    ) -> list[R]:
        results: list[R] = []
        middle = (len(items) + 1) // 2
        parts = [part for part in (items[middle:], items[:middle]) if part]
        while parts:
            part = parts.pop()
            try:
                results.append(act(part))
            except Exception as error:
                if not self._is_refusal(error):
                    raise
                if len(part) == 1:
                    self._note_refused(error)
                    refused(part[0], error)
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
            else:
                self.accepted()
        return results

    def rests(self) -> bool:
        """Whether nothing is taken apart now, since everything was refused."""
        return self._clock() < self._rest_until

    def puts_off(self, error: Exception) -> bool:
        """Whether an error is a refusal that is not taken apart now."""
        return self.rests() and trouble_of(error) in (Trouble.REFUSED, Trouble.DOUBTFUL)

    def _is_refusal(self, error: Exception) -> bool:
        trouble = trouble_of(error)
        if self.rests():
            return False
        if trouble is Trouble.DOUBTFUL and not self._doubted:
            self._doubted = True
            return False
        return trouble in (Trouble.REFUSED, Trouble.DOUBTFUL)

    def accepted(self) -> None:
        """Note that the database accepts statements, even if only a replacement for refused ones."""
        self._in_a_row, self._most, self._rest = 0, MOST_IN_A_ROW, FIRST_REST
        self._rest_until = float("-inf")

    def _note_refused(self, error: Exception) -> None:
        self._in_a_row += 1
        if self._in_a_row >= self._most:
            self._in_a_row, self._most = 0, FEW_IN_A_ROW
            self._rest_until = self._clock() + self._rest
            self._rest = min(2 * self._rest, LONGEST_REST)
            logger.error(
                "The database has refused all of the last statements: %s; this is left alone for a while",
                one_line(describe(error)),
            )


class Refusals(Generic[H]):
    """Isolation for a recurring chore: items that are refused on their own are left alone for a while.

    :param cannot: the message for the log, with a ``%s`` for the item.
    """

    def __init__(self, cannot: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._cannot = cannot
        self._clock = clock
        self._isolation = Isolation(clock)
        self._until: dict[H, float] = {}
        self._seconds: dict[H, float] = {}

    def run(self, items: Sequence[H], act: Callable[[Sequence[H]], R]) -> list[R]:
        """Act on all items at once, or on as many at a time as the database accepts; see :meth:`Isolation.run`."""
        return self._isolation.run(items, act, self._spare)

    def run_found(
        self, whole: Callable[[], R], find: Callable[[], Sequence[H]], act: Callable[[Sequence[H]], R]
    ) -> list[R]:
        """The same for a statement that finds its own rows; see :meth:`Isolation.run_found`.

        While nothing is taken apart, all items that the statement would act on are left alone, so that the next try
        continues after them.
        """
        try:
            return self._isolation.run_found(whole, lambda: self._untried_first(find()), act, self._spare)
        except Exception as error:
            if self._isolation.puts_off(error):
                self._spare_all(find())
            raise

    def spared(self) -> list[H]:
        """Return the items to leave alone now."""
        if not self._until:
            return []  # as nearly always
        now = self._clock()
        self._until = {item: until for item, until in self._until.items() if now < until or item in self._seconds}
        return [item for item, until in self._until.items() if now < until]

    def _untried_first(self, items: Sequence[H]) -> list[H]:
        # If only few are tried, they should not be the same ones each time.
        return sorted(items, key=lambda item: item in self._seconds)

    def _spare(self, item: H, error: Exception) -> None:
        seconds = min(2 * self._seconds.pop(item, FIRST_SPARE / 2), LONGEST_SPARE)
        if seconds == FIRST_SPARE:
            logger.error("%s; it is tried again from time to time: %s", self._cannot % item, one_line(describe(error)))
        self._seconds[item] = seconds
        self._leave_alone(item, seconds)

    def _spare_all(self, items: Sequence[H]) -> None:
        now = self._clock()
        for item in items:
            if self._until.get(item, now) <= now:
                if known := self._seconds.get(item):
                    self._seconds[item] = known = min(2 * known, LONGEST_SPARE)
                self._leave_alone(item, known or UNTRIED_SPARE)

    def _leave_alone(self, item: H, seconds: float) -> None:
        self._until.pop(item, None)
        self._until[item] = self._clock() + seconds
        if len(self._until) > MOST_SPARED:
            oldest = next(iter(self._until))
            del self._until[oldest]
            self._seconds.pop(oldest, None)
