"""Claim for one pool: from its lanes, and as much as it has room for."""

from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claim
from autotask.store.claims import MOST
from autotask.task import PROCESS, THREAD, ClaimedTask
from autotask.worker.claiming.claims import Claims
from autotask.worker.claiming.prefetch import PREFETCH, PREFETCH_FOR_EXECUTORS, Prefetch
from autotask.worker.lanes import Lanes
from autotask.worker.pools.base import Pool
from autotask.worker.pools.threads import ThreadPool


class Intake:
    """The lanes of one pool, and its room. Only the loop calls this.

    Unlike the threads, these pools hold nothing ahead: their tasks take longer, and may run in another worker meanwhile.

    :param executor: the name of the pool in the rows of its tasks.
    :param serves: whether a queue should be served.
    """

    def __init__(self, executor: str, pool: Pool[ClaimedTask], serves: Callable[[str], bool], claims: Claims) -> None:
        self.pool = pool
        self.lanes = Lanes(serves, executor, claims.bounds)
        self._claims = claims
        # A suspect alone in its process can harm no other task.
        self._which = claim.ALL if executor == PROCESS else claim.INNOCENT

    def has_work(self) -> bool:
        """Whether the last look found ready tasks for this pool."""
        return self.lanes.busy

    def room(self) -> int:
        """Return the number of tasks that the pool can still run now; if 0, have the loop woken when there is room."""
        if not (room := self.free()):
            self.pool.wake_when(0)
            # A task that finished before wake_when() was called does not wake the loop.
            room = self.free()
        return room

    def claim(
        self, connection: BaseDatabaseWrapper, limit: int, most_bytes: int | None, *, unbounded: bool
    ) -> list[ClaimedTask]:
        """Claim up to *limit* tasks, with about *most_bytes* of arguments at most.

        :param unbounded: whether to look below the lower bounds of the lanes as well.
        """
        lanes = self.lanes.in_order(unbounded=unbounded, whole=self._claims.are_whole())
        share = self.lanes.share(limit)
        try:
            claimed = self._claims.take(
                connection, lanes, per_lane=share, limit=limit, which=self._which, most_bytes=most_bytes
            )
        except BaseException:
            self.lanes.failed()
            raise
        if claimed:
            has_all_bytes = most_bytes is not None and sum(len(task.payload) for task in claimed) >= most_bytes
            self.lanes.claimed(claimed, full=len(claimed) >= min(limit, MOST) or has_all_bytes)
        return claimed

    def free(self) -> int:
        """Return the number of tasks that the pool can still run now."""
        return max(0, self.pool.size - self.pool.outstanding())


class AheadIntake(Intake):
    """The intake of a pool that holds more tasks than it can run: short tasks need not wait for the next claim.

    Only the loop calls this.

    :param most_ahead: see :class:`autotask.worker.claiming.prefetch.Prefetch`.
    """

    #: Seconds within which tasks that it holds ahead should start.
    within = PREFETCH

    def __init__(
        self,
        executor: str,
        pool: Pool[ClaimedTask],
        serves: Callable[[str], bool],
        claims: Claims,
        most_ahead: Callable[[int], int | None],
    ) -> None:
        super().__init__(executor, pool, serves, claims)
        self._prefetch = Prefetch(pool.size, most_ahead, self.within)

    def room(self, others: int = 0) -> int:
        """Return the number of tasks that may still be claimed now; 0 also while there are too few to be worth a statement.

        :param others: how many tasks it holds ahead that are not in the pool yet.
        """
        ahead, size = self.ahead(), self.pool.size
        outstanding = self.pool.outstanding() + others
        return 0 if outstanding > self.least() else max(0, size + ahead - outstanding)

    def least(self) -> int:
        """Return the number of held tasks at which a claim is worth a statement again."""
        return self.pool.size - 1 + self.ahead() // 2

    def ask_for_wake(self) -> None:
        """Have the loop woken when a claim is worth a statement again."""
        self.pool.wake_when(self.ahead() // 2)

    def some_wait(self) -> bool:
        """Whether tasks wait for a free place."""
        return self.pool.outstanding() > self.pool.size

    def is_stuck(self, now: float) -> bool:
        """Whether tasks wait behind unexpectedly long ones: another worker may be free."""
        return self._prefetch.is_stuck(now, self.pool.busy_seconds()[0], self.pool.outstanding())

    def ahead(self) -> int:
        """Return the number of tasks to hold beyond those that run."""
        return self._prefetch.size(*self.pool.busy_seconds())


class ThreadIntake(AheadIntake):
    """The intake of the threads. Only the loop calls this."""

    pool: ThreadPool[ClaimedTask]

    def __init__(
        self,
        pool: ThreadPool[ClaimedTask],
        serves: Callable[[str], bool],
        claims: Claims,
        most_ahead: Callable[[int], int | None],
    ) -> None:
        super().__init__(THREAD, pool, serves, claims, most_ahead)


class ExecutorIntake(AheadIntake):
    """The intake of an executor of the project. Only the loop calls this."""

    within = PREFETCH_FOR_EXECUTORS

    def room(self, others: int = 0) -> int:
        """Return the number of tasks that may be claimed now; if 0, have the loop woken when a claim is worth a statement."""
        if not (room := super().room(others)):
            self.ask_for_wake()
            # A task that finished before wake_when() was called does not wake the loop.
            room = super().room(others)
        return room
