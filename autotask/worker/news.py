"""Notifications to the loop while it works and while it sleeps."""

import logging

from autotask.store import notify
from autotask.store.connection import dedicated
from autotask.store.listening import Listening
from autotask.wakeup import Wakeup

logger = logging.getLogger("autotask.worker")


class News:
    """Whether something was enqueued since the last look for lanes. Only the loop calls this.

    :param wakeup: with it, any other thread or process wakes the loop.
    :ivar connection: the loop's own, which also listens.
    """

    def __init__(self, wakeup: Wakeup) -> None:
        self.connection = dedicated("claim")
        self._wakeup = wakeup
        self._listening = Listening(self.connection, lambda: notify.WORK_CHANNEL)
        #: Whether NOTIFY has said so.
        self._notified = False

    def listen(self) -> None:
        """Listen on a new connection once it is known that notifications arrive there. Otherwise the loop polls."""
        if self._listening.renew() and self.connection.pooled:
            logger.info(
                "The database is reached through a pooler %s",
                "that keeps sessions, so LISTEN works: listening for work"
                if self._listening.listener
                else "that shares sessions, so LISTEN does not work: looking for work by polling",
            )

    def sleep(self, seconds: float) -> bool:
        """Sleep, and return whether the loop was woken."""
        if self._look() or self._wakeup.handed:
            return True  # It came with the answer to an earlier statement, or during another look.
        woken = self._wakeup.sleep(seconds, self._listening.fileno())
        self._look()
        return woken

    def has_come(self) -> bool:
        """Read the notifications, and return whether something was enqueued since the last look."""
        self._wakeup.sleep(0)
        self._look()
        return self.has_word()

    def has_word(self) -> bool:
        """Whether something was enqueued since the last look, as far as is known."""
        return self._notified or self._wakeup.called

    def take_word(self) -> bool:
        """Begin a look; return whether a caller has notified this worker only."""
        called, self._wakeup.called, self._notified = self._wakeup.called, False, False
        return called

    def pass_on(self) -> None:
        """Notify other workers that there is work."""
        notify.send(self.connection.wrapper)

    def was_called(self) -> bool:
        """Whether a caller has notified this worker only, since the last look."""
        return self._wakeup.called

    def pass_on_call(self) -> None:
        """Notify other workers of a call that only this one knows of; this one has yet to look, too."""
        self._wakeup.called, self._notified = False, True
        self.pass_on()

    def _look(self) -> bool:
        heard = self._listening.heard()
        self._notified = self._notified or heard
        return heard
