"""Duration of a transaction, and of its longest pause, in comparison with what the server allows."""

import time

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows

#: In milliseconds; 0 is no limit. PostgreSQL has the second one since version 17.
LIMITS = """
SELECT coalesce((SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'), 0),
       coalesce((SELECT setting::int FROM pg_settings WHERE name = 'transaction_timeout'), 0)
"""


class Durations:
    """Those of one transaction, which begins with the first statement."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._answered_at = 0.0
        self._longest_pause = 0.0
        self._longest = 0.0

    def note_answer(self) -> None:
        """Note that a statement was answered, or that the connection was cut instead."""
        now = self._answered_at = time.monotonic()
        if self._began_at is None:
            self._began_at = now
        self._longest = now - self._began_at

    def note_pause(self) -> None:
        """Note that a statement follows."""
        now = time.monotonic()
        if self._began_at is None:
            self._began_at = now
        else:
            self._longest_pause = max(self._longest_pause, now - self._answered_at)
            self._longest = now - self._began_at

    def exceed(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether they exceed what the server allows to the role of a connection."""
        idle: int
        whole: int
        idle, whole = rows(connection, LIMITS)[0]
        return 0 < idle <= self._longest_pause * 1000 or 0 < whole <= self._longest * 1000
