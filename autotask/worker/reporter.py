"""Service: write down how far running tasks say they have come."""

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.context import Progress
from autotask.store import progress
from autotask.store.isolation import Isolation
from autotask.store.progress import Claim

#: Seconds between two looks for news; so often at most is the progress of one task written.
EVERY = 1.0


class Reports(Protocol):
    """Where a task leaves word of its progress."""

    def report(self, claim: Claim, said: Progress) -> None:
        """Leave word."""

    def last_word(self, claim: Claim) -> Progress | None:
        """Return what a task said last, if that may not be in the database yet."""


class Reporter:
    """Keeps the last word of each running task, and writes what is new, all of it with one statement.

    Tasks only leave word, so that neither a lock nor an outage of the database reaches them.

    :param is_held: tells whether a claim is still this worker's.
    """

    doing = "note the progress of tasks"

    def __init__(self, is_held: Callable[[Claim], bool]) -> None:
        self._is_held = is_held
        self._isolation = Isolation()
        self._lock = threading.Lock()
        self._last: dict[Claim, Progress] = {}
        self._new: set[Claim] = set()

    def report(self, claim: Claim, said: Progress) -> None:
        """Leave word. Any thread may call this, as often as it likes."""
        with self._lock:
            self._last[claim] = said
            self._new.add(claim)

    def last_word(self, claim: Claim) -> Progress | None:
        """Return what a task said last, if that may not be in the database yet."""
        if not self._new:
            return None  # as nearly always: most tasks say nothing
        with self._lock:
            return self._last[claim] if claim in self._new else None

    def forget(self, claims: Iterable[Claim]) -> None:
        """Forget claims that are over."""
        if self._last:  # Most tasks report nothing.
            with self._lock:
                for claim in claims:
                    self._last.pop(claim, None)
                    self._new.discard(claim)

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Write what is new."""
        with self._lock:
            # What was given up may go on, and have more to say.
            self._last = {claim: said for claim, said in self._last.items() if self._is_held(claim)}
            self._new &= self._last.keys()
            news = {claim: self._last[claim] for claim in self._new}
        if news:
            refused: set[Claim] = set()
            parts = self._isolation.run(
                list(news),
                lambda part: progress.note(connection, {claim: news[claim] for claim in part}),
                lambda claim, error: refused.add(claim),
            )
            written = refused.union(*parts)  # What is refused is given up: a newer value may be accepted.
            with self._lock:
                # What was said meanwhile stays new.
                self._new -= {claim for claim in written if self._last.get(claim) is news[claim]}
        return EVERY
