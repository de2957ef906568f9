"""A worker's own connection that listens on channels, as long as it can hear."""

from collections.abc import Callable, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import hearing
from autotask.store.connection import Dedicated, execute, rows

# A standby, or a copy that was restored, may take over the address of another server, but it has not begun at the same moment.
_DATABASE = """
SELECT concat_ws(
    ' ', extract(epoch FROM pg_postmaster_start_time()), coalesce(host(inet_server_addr()), '-'), current_setting('port'), oid
)
FROM pg_database WHERE datname = current_database()
"""


class Listening:
    """Listens with a connection on channels. Only the thread of the connection calls this.

    :param channels: returns their names, which may change.
    :ivar hears: whether anything is heard; None while that is unknown.
    """

    def __init__(self, connection: Dedicated, channels: Callable[[], tuple[str, ...]]) -> None:
        self._connection = connection
        self._channels = channels
        self._on: tuple[BaseDatabaseWrapper, tuple[str, ...]] | None = None
        self.hears: bool | None = None

    def renew(self) -> bool:
        """Listen again if the connection or a channel has changed.

        :returns: whether it has just become known if anything is heard there.
        :raises django.db.OperationalError: the database cannot be reached.
        """
        connection, channels = self._connection.wrapper, self._channels()
        if self._on is None or self._on[0] is not connection or self._on[1] != channels:
            self._on, self.hears = (connection, channels), None
        if self.hears is not None:
            return False
        hears = self._connection.hears()
        if hears:
            execute(connection, "; ".join(f"LISTEN {channel}" for channel in channels))
        self.hears = hears
        return hears is not None

    def stop(self) -> None:
        """Listen no more, until the next call of :meth:`renew`. What has come by now has to be read before."""
        if self.hears and self._on:
            execute(self._on[0], "UNLISTEN *")
        self._on = self.hears = None

    def heard(self) -> Sequence[tuple[str, str]]:
        """Read the notifications that have come, and return the channel and the words of each."""
        return hearing.all_heard(self._on[0]) if self.hears and self._on else ()

    def fileno(self) -> int | None:
        """Return the file descriptor that becomes readable when there is something to hear."""
        raw = self._on[0].connection if self.hears and self._on else None
        return None if raw is None else raw.fileno()  # None: it was closed, and the next call of renew() listens again.


def database(connection: BaseDatabaseWrapper) -> str:
    """Return words that no other database has, on this server or another one, and this one only until the server ends.

    :raises django.db.DatabaseError: this role may not read them, or the server does not have them.
    """
    return str(rows(connection, _DATABASE)[0][0])
