"""The tasks that this process has offered to clients, and those that it has taken in advance for their next requests.

While clients ask often, one statement offers several tasks at once: the next requests get theirs without the database. Nobody
else gets these meanwhile, so what is left over after a moment is offered to all again.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import model_rows, notify, pull
from autotask.store.connection import current
from autotask.store.pull import Offered
from autotask.texts.lines import describe, one_line

logger = logging.getLogger("autotask")

#: As many are taken at once as clients have lately asked for in this many seconds, but at most this many.
AHEAD = 0.1
MOST = 16

#: Seconds after which offers that nobody has asked for are withdrawn.
KEEP = 0.25

#: Lists of channels that are remembered.
MOST_STOCKS = 100


@dataclass(slots=True)
class _Stock:
    """The tasks that were taken in advance for some channels.

    :ivar until: when it is withdrawn.
    :ivar asked_at: when a client got a task of these channels.
    """

    offered: deque[Offered] = field(default_factory=deque)
    until: float = 0.0
    asked_at: float = float("-inf")


class Offers:
    """Offers tasks to clients. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stocks: dict[tuple[str, ...], _Stock] = {}
        self._returning = False

    def take(self, connection: BaseDatabaseWrapper, channels: Sequence[str]) -> Offered | None:
        """Offer the oldest task of some channels to a client; None: there is none."""
        key, now = tuple(channels), time.monotonic()
        with self._lock:
            stock = self._stock(key)
            if stock.offered and now < stock.until:
                stock.asked_at = now
                return stock.offered.popleft()
            most = max(1, min(MOST, int(AHEAD / max(now - stock.asked_at, 0.001))))
            is_left = bool(stock.offered)
        if is_left:
            # The thread has failed, or does not run: by now, they may be offered to the clients of another process.
            self.withdraw(connection)
        taken = pull.take(connection, channels, list(model_rows.tables), most=most)
        with self._lock:
            if not taken:
                return None
            stock = self._stock(key)
            if taken[1:]:
                stock.offered.extend(taken[1:])
                stock.until = now + KEEP
                self._return_later()
            stock.asked_at = now
            return taken[0]

    def withdraw(self, connection: BaseDatabaseWrapper) -> None:
        """Withdraw the offers that nobody has asked for in time."""
        now = time.monotonic()
        left: list[Offered] = []
        with self._lock:
            for stock in self._stocks.values():
                if now >= stock.until:
                    left += stock.offered
                    stock.offered.clear()
        if left:
            pull.withdraw(connection, left)
            notify.tell_after_commit(connection, {notify.REMOTE_CHANNEL: ""})

    def _stock(self, key: tuple[str, ...]) -> _Stock:
        if key not in self._stocks and len(self._stocks) >= MOST_STOCKS:  # clients name the channels
            self._stocks = {known: stock for known, stock in self._stocks.items() if stock.offered}
        return self._stocks.setdefault(key, _Stock())

    def _return_later(self) -> None:
        if not self._returning:
            try:
                threading.Thread(target=self._return, name="autotask-offers", daemon=True).start()
            except RuntimeError as error:  # the system has no threads left
                logger.warning("Tasks that no client asks for are offered again later: %s", one_line(describe(error)))
            else:
                self._returning = True

    def _return(self) -> None:
        """Withdraw what is left over, until nothing is."""
        try:
            while (seconds := self._seconds_left()) is not None:
                time.sleep(max(seconds, 0.0))
                self.withdraw(current())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Tasks that no client has asked for are offered again later: %s", one_line(describe(error)))
            with self._lock:
                self._returning = False
        finally:
            connections.close_all()

    def _seconds_left(self) -> float | None:
        with self._lock:
            ends = [stock.until for stock in self._stocks.values() if stock.offered]
            self._returning = bool(ends)
            return min(ends) - time.monotonic() if ends else None


offers = Offers()


def _renew_in_fork() -> None:
    # Threads stay behind in the parent, and what it has taken is for its own clients.
    global offers
    offers = Offers()


os.register_at_fork(after_in_child=_renew_in_fork)
