"""What one pool beside the threads may claim: its lanes, and as much as it has room for."""

import uuid
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claim
from autotask.store.isolation import Refusals
from autotask.task import PROCESS, ClaimedTask
from autotask.worker.lanes import Lanes
from autotask.worker.pools.base import Pool


class Intake:
    """Claims for one pool.

    The threads hold some tasks more than they can run, so that short ones need not wait for the next claim. These pools
    hold none: what they run takes longer, and what they cannot run now may run in another worker.

    :param executor: the name of the pool in the rows of its tasks.
    :param serves: whether a queue is to be served.
    :param strangers: returns the names of tasks that are left for newer workers.
    :param refused: remembers the tasks that the database has refused to have claimed.
    """

    def __init__(
        self,
        executor: str,
        pool: Pool[ClaimedTask],
        serves: Callable[[str], bool],
        strangers: Callable[[], list[str]],
        refused: Refusals[uuid.UUID],
    ) -> None:
        self.pool = pool
        self.lanes = Lanes(serves, executor)
        # A suspect that can harm nobody but itself need not run alone.
        self._strangers = strangers
        self._refused = refused
        self._which = claim.ALL if executor == PROCESS else claim.INNOCENT

    def has_work(self) -> bool:
        """Whether the last look found ready tasks for this pool."""
        return self.lanes.busy

    def room(self) -> int:
        """Return how many more records the pool can run now. If there is no room, the loop is woken when there is."""
        if not (room := self._room()):
            self.pool.wake_when(0)
            # What has ended before it was asked to wake the loop does not wake it.
            room = self._room()
        return room

    def claim(
        self, connection: BaseDatabaseWrapper, worker_id: uuid.UUID, limit: int, most_bytes: int | None
    ) -> list[ClaimedTask]:
        """Take up to *limit* tasks, and about as many bytes of arguments; see :func:`autotask.store.claim.claim`."""
        for unbounded in (False, True):
            lanes, share = self.lanes.in_order(unbounded=unbounded), self.lanes.share(limit)
            claimed = claim.claim(
                connection,
                worker_id,
                lanes,
                per_lane=share,
                limit=limit,
                which=self._which,
                most_bytes=most_bytes,
                strangers=self._strangers(),
                refused=self._refused,
            )
            if claimed:
                self.lanes.claimed(claimed)
                return claimed
        return []

    def _room(self) -> int:
        return max(0, self.pool.size - self.pool.outstanding())
