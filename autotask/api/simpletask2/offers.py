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
AHEAD = 0.2
MOST = 16

#: The numbers that are taken at once. When few are left of one of the larger ones, four at least are taken by the next statement.
BATCHES = (MOST, 12, 8, 4, 2, 1)

#: When no more than this many of them are left, the next ones are taken after the answer.
FEW = 4

#: Seconds after which offers that nobody has asked for are withdrawn.
KEEP = 0.25

#: Lists of channels that are remembered.
MOST_STOCKS = 100


@dataclass(slots=True)
class _Stock:
    """The tasks that were taken in advance for some channels.

    :ivar until: when it is withdrawn.
    :ivar asked_at: when a client got a task of these channels.
    :ivar most: how many are taken at once, going by how often clients ask.
    :ivar has_more: whether there were as many as were asked for, the last time.
    :ivar is_filling: whether a thread takes more.
    """

    offered: deque[Offered] = field(default_factory=deque)
    until: float = 0.0
    asked_at: float = float("-inf")
    most: int = 1
    has_more: bool = False
    is_filling: bool = False

    def asked(self, now: float) -> None:
        """Note that a client asks."""
        self.most = _batch(int(AHEAD / max(now - self.asked_at, 0.001)))

    def add(self, offered: Sequence[Offered], now: float) -> None:
        """Keep tasks for the next requests."""
        self.offered.extend(offered)
        self.until = now + KEEP


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
            stock.asked(now)
            if stock.offered and now < stock.until:
                stock.asked_at = now
                return stock.offered.popleft()
            is_left, most = bool(stock.offered), stock.most
        if is_left:
            # The thread has failed, or does not run: by now, they may be offered to the clients of another process.
            self.withdraw(connection)
        taken = pull.take(connection, channels, list(model_rows.tables), most=most)
        with self._lock:
            if not taken:
                return None
            stock = self._stock(key)
            stock.has_more = len(taken) == most
            if taken[1:]:
                stock.add(taken[1:], now)
                self._return_later()
            stock.asked_at = now
            return taken[0]

    def fill(self, connection: BaseDatabaseWrapper, channels: Sequence[str]) -> None:
        """Take the next tasks in advance, if few are left: so no request has to wait for the statement."""
        key, now = tuple(channels), time.monotonic()
        with self._lock:
            stock = self._stock(key)
            left = len(stock.offered)
            if stock.is_filling or not (stock.has_more and 0 < left <= FEW < stock.most and now < stock.until):
                return
            stock.is_filling, most = True, _batch(stock.most - left)
        taken: list[Offered] = []
        try:
            taken = pull.take(connection, channels, list(model_rows.tables), most=most)
        finally:
            with self._lock:
                stock.is_filling = False
                if taken:
                    stock = self._stock(key)  # It may have been forgotten meanwhile.
                    stock.add(taken, now)
                    self._return_later()
                stock.has_more = len(taken) == most

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


def _batch(most: int) -> int:
    """Return the largest of :data:`BATCHES` that is no larger; 1 at least."""
    return next((size for size in BATCHES if size <= most), 1)


offers = Offers()


def _renew_in_fork() -> None:
    # Threads stay behind in the parent, and what it has taken is for its own clients.
    global offers
    offers = Offers()


os.register_at_fork(after_in_child=_renew_in_fork)
