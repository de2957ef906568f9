"""Service: write the progress of running tasks."""

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.context import Progress
from autotask.store import progress
from autotask.store.isolation import Isolation
from autotask.store.progress import Claim

#: Seconds between two looks for news, and at least between two writes of the progress of one task.
EVERY = 1.0


class Reports(Protocol):
    """Takes the progress of tasks."""

    def report(self, claim: Claim, said: Progress) -> None:
        """Report progress."""

    def last_word(self, claim: Claim) -> Progress | None:
        """Return the last progress of a task, if it may not be in the database yet."""


class Reporter:
    """Keeps the last progress of each running task, and writes all new progress with one statement.

    Tasks themselves write nothing, so neither a lock nor an outage delays them.

    :param is_held: returns whether a claim is still this worker's.
    """

    doing = "note the progress of tasks"

    def __init__(self, is_held: Callable[[Claim], bool]) -> None:
        self._is_held = is_held
        self._isolation = Isolation()
        self._lock = threading.Lock()
        self.last: dict[Claim, Progress] = {}
        self._new: set[Claim] = set()

    def report(self, claim: Claim, said: Progress) -> None:
        """Report progress. Any thread may call this, as often as it likes."""
        with self._lock:
            self.last[claim] = said
            self._new.add(claim)

    def has_news(self) -> bool:
        """Whether the last progress of some task may not be in the database yet."""
        return bool(self._new)

    def last_word(self, claim: Claim) -> Progress | None:
        """Return the last progress of a task, if it may not be in the database yet."""
        with self._lock:
            return self.last[claim] if claim in self._new else None

    def forget(self, claims: Iterable[Claim]) -> None:
        """Forget claims that are over."""
        if self.last:  # Most tasks report nothing.
            with self._lock:
                for claim in claims:
                    self.last.pop(claim, None)
                    self._new.discard(claim)

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Write new progress."""
        with self._lock:
            # Tasks that were given up may continue, and report more.
            self.last = {claim: said for claim, said in self.last.items() if self._is_held(claim)}
            self._new &= self.last.keys()
            news = {claim: self.last[claim] for claim in self._new}
        if news:
            refused: set[Claim] = set()
            parts = self._isolation.run(
                list(news),
                lambda part: progress.note(connection, {claim: news[claim] for claim in part}),
                lambda claim, error: refused.add(claim),
            )
            written = refused.union(*parts)  # Refused values are dropped: a newer one may be accepted.
            with self._lock:
                # Progress reported meanwhile stays new.
                self._new -= {claim for claim in written if self.last.get(claim) is news[claim]}
        return EVERY
