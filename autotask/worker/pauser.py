"""Service: hold the ready tasks of paused names, and let them go when that is over."""

import logging
import time
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claim, pauses
from autotask.store.claim import Lane
from autotask.store.pauses import Look
from autotask.worker.paused import Paused

logger = logging.getLogger("autotask.worker")

#: Seconds between two looks while something is paused, or tasks are held that could go.
LOOK_EVERY = 1.0

#: The same while nothing is paused as far as this worker knows: for tasks that another one has held in the last moment.
SWEEP_EVERY = 30.0

#: Seconds between two pieces while there is more to move: the other services run in between.
PAUSE = 0.005

#: Before the first task of a lane.
BEGINNING = "-infinity"

#: A walk through all ready tasks is followed by a rest that is this many times as long.
REST_SHARE = 5


class Pauser:
    """Moves the tasks of paused names in small pieces, and deletes pauses whose time is over.

    Several workers may do this at once: each takes the rows that no other one has locked.

    :param paused: what is paused, as far as the loop knows.
    :param changed: called when there is more to claim.
    """

    doing = "hold paused tasks"

    def __init__(self, paused: Paused, changed: Callable[[], None]) -> None:
        self._paused = paused
        self._changed = changed
        self._due = self._sweep_at = self._walk_at = self._walk_began = float("-inf")
        #: The lanes that the present walk has not left behind, and how far it is in the last of them.
        self._lanes: list[Lane] | None = None
        self._after = BEGINNING

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Look, and move a piece of what there is to move."""
        now = time.monotonic()
        # A run before its time means that somebody has paused or resumed something.
        if now >= self._due and now < self._sweep_at and not (self._paused or self._paused.limits):
            return self._wait(LOOK_EVERY)
        look = pauses.look(connection)
        self._sweep_at = now + (LOOK_EVERY if look.exists else SWEEP_EVERY)
        if look.is_over and (ended := pauses.end(connection)):
            logger.info("%d pause%s over", ended, " is" if ended == 1 else "s are")
            self._changed()
        moved = [self._let_go(connection, name) for name in look.released]
        walks = look.holds and now >= self._walk_at and self._walk(connection)
        return self._wait(PAUSE if walks or any(moved) else _until_next(look))

    def _let_go(self, connection: BaseDatabaseWrapper, name: str) -> int:
        count = pauses.let_go(connection, name)
        if count:
            self._changed()
        return count

    def _walk(self, connection: BaseDatabaseWrapper) -> bool:
        """Go on through the ready tasks, lane by lane; return whether there are more."""
        if self._lanes is None:
            self._walk_began, self._after = time.monotonic(), BEGINNING
            self._lanes = claim.find_lanes(connection).lanes
        if self._lanes:
            lane = self._lanes[-1]
            after, held = pauses.hold(connection, lane.queue, lane.priority, lane.executor, self._after)
            if held:
                logger.debug("%d paused tasks are held", held)
                self._changed()  # They may have freed slots.
            if after is None:
                self._lanes.pop()
            self._after = after or BEGINNING
            return True
        self._lanes = None
        now = time.monotonic()
        self._walk_at = now + max(LOOK_EVERY / 2, REST_SHARE * (now - self._walk_began))
        return False

    def _wait(self, seconds: float) -> float:
        self._due = time.monotonic() + seconds
        return seconds


def _until_next(look: Look) -> float:
    return LOOK_EVERY if look.seconds is None else min(LOOK_EVERY, max(look.seconds, PAUSE))
