"""Service: hold the tasks of paused names, and those of paused queues that have slots; let them go when that is over."""

import logging
import time
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claim, paused_tasks
from autotask.store.claim import Lane
from autotask.store.paused_tasks import FIRST, Look, Slot
from autotask.store.survey import Chore
from autotask.worker.chores import Chores
from autotask.worker.paused import Paused

logger = logging.getLogger("autotask.worker")

#: Seconds between two looks while something is paused, or tasks are held that could go.
LOOK_EVERY = 1.0

#: Seconds between two pieces while there is more to move: the other services run in between.
PAUSE = 0.005

#: Before the first task of a lane.
BEGINNING = "-infinity"

#: A walk through all slots and ready tasks is followed by a rest that is this many times as long.
REST_SHARE = 5


class Pauser:
    """Moves the tasks of paused names and queues in small pieces, and deletes pauses whose time is over.

    Several workers may do this at once: each takes the rows that no other one has locked.

    :param paused: what is paused, as far as the loop knows.
    :param chores: say whether there is a pause, or a task that another worker has held in the last moment of one.
    :param changed: called when there is more to claim.
    """

    doing = "hold paused tasks"

    def __init__(self, paused: Paused, chores: Chores, changed: Callable[[], None]) -> None:
        self._paused = paused
        self._chores = chores
        self._has_seen_some = False
        self._changed = changed
        self._due = self._walk_at = self._walk_began = float("-inf")
        #: The position of the current walk among the slots; None: it has left them behind.
        self._slot: Slot | None = None
        #: The lanes that it has not left behind, and how far it is in the last of them; None: there is no walk.
        self._lanes: list[Lane] | None = None
        self._after = BEGINNING

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Look, and move a piece of what there is to move."""
        now = time.monotonic()
        # A run before its time means that somebody has paused or resumed something.
        may_be_some = Chore.PAUSES in self._chores or self._has_seen_some or now < self._due
        if not (may_be_some or self._paused or self._paused.limits):
            return self._wait(LOOK_EVERY)
        look = paused_tasks.look(connection)
        self._has_seen_some = look.exists
        self._chores.done(Chore.PAUSES)
        if look.is_over and (ended := paused_tasks.end(connection)):
            logger.info("%d pause%s over", ended, " is" if ended == 1 else "s are")
            self._changed()
        moved = [self._let_go(connection, gate) for gate in look.released]
        walks = look.holds_slots and now >= self._walk_at and self._walk(connection, look)
        return self._wait(PAUSE if walks or any(moved) else _until_next(look))

    def _let_go(self, connection: BaseDatabaseWrapper, gate: str) -> int:
        count = paused_tasks.let_go(connection, gate)
        if count:
            self._changed()
        return count

    def _walk(self, connection: BaseDatabaseWrapper, look: Look) -> bool:
        """Go on through the slots, and then, for paused names, through the ready tasks; return whether there are more."""
        if self._lanes is None:
            self._walk_began, self._slot, self._after = time.monotonic(), FIRST, BEGINNING
            self._lanes = claim.find_lanes(connection).lanes if look.holds else []
        if self._slot is not None:
            self._slot, held = paused_tasks.hold_slots(connection, self._slot)
        elif self._lanes:
            held = self._walk_lane(connection, self._lanes)
        else:
            self._lanes = None
            now = time.monotonic()
            self._walk_at = now + max(LOOK_EVERY / 2, REST_SHARE * (now - self._walk_began))
            return False
        if held:
            logger.debug("%d paused tasks are held", held)
            self._changed()  # They may have freed slots.
        return True

    def _walk_lane(self, connection: BaseDatabaseWrapper, lanes: list[Lane]) -> int:
        lane = lanes[-1]
        after, held = paused_tasks.hold(connection, lane.queue, lane.priority, lane.executor, self._after)
        if after is None:
            lanes.pop()
        self._after = after or BEGINNING
        return held

    def _wait(self, seconds: float) -> float:
        self._due = time.monotonic() + seconds
        return seconds


def _until_next(look: Look) -> float:
    return LOOK_EVERY if look.seconds is None else min(LOOK_EVERY, max(look.seconds, PAUSE))
