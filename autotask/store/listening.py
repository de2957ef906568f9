"""A worker's own connection that listens on a channel, as long as it can hear."""

from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import Dedicated
from autotask.store.notify import ChannelListener


class Listening:
    """Listens with a connection on a channel. Only the thread of the connection calls this.

    :param channel: returns the name of the channel, which may change.
    :ivar listener: None where nothing would be heard, or while that is unknown.
    """

    def __init__(self, connection: Dedicated, channel: Callable[[], str]) -> None:
        self._connection = connection
        self._channel = channel
        self._on: tuple[BaseDatabaseWrapper, str] | None = None
        self._hears: bool | None = None
        self.listener: ChannelListener | None = None

    def renew(self) -> bool:
        """Listen again if the connection or the channel has changed.

        :returns: whether it has just become known if anything is heard there.
        :raises django.db.OperationalError: the database cannot be reached.
        """
        connection, channel = self._connection.wrapper, self._channel()
        if self._on is None or self._on[0] is not connection or self._on[1] != channel:
            self._on, self._hears, self.listener = (connection, channel), None, None
        if self._hears is not None:
            return False
        hears = self._connection.hears()
        if hears:
            self.listener = ChannelListener(connection, channel)
        self._hears = hears
        return hears is not None

    def heard(self) -> bool:
        """Read the notifications that have come, and return whether there were any."""
        return self.listener is not None and self.listener.heard()

    def fileno(self) -> int | None:
        """Return the file descriptor that becomes readable when there is something to hear."""
        return None if self.listener is None else self.listener.fileno()
