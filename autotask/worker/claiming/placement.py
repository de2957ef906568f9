"""Put claimed tasks into the pools, and release those that wait there."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from autotask.store.follow import Wanted
from autotask.task import ClaimedTask
from autotask.worker.held import HeldTasks
from autotask.worker.outcome import Released
from autotask.worker.pools.base import Pool
from autotask.worker.pools.threads import ThreadPool
from autotask.worker.recorder import Recorder
from autotask.worker.recycling import Recycling
from autotask.worker.runner import Runner
from autotask.worker.watch import Watch


@dataclass(eq=False, slots=True)
class Placement:
    """Puts claims into the pools. Only the loop calls this; the stall watch may release waiting tasks.

    :ivar recycling: counts the tasks.
    """

    pools: Collection[Pool[ClaimedTask]]
    held: HeldTasks
    recorder: Recorder
    runner: Runner
    watch: Watch
    recycling: Recycling

    def place(self, claimed: Sequence[ClaimedTask], pool: Pool[ClaimedTask]) -> None:
        """Hold claims, submit them to a pool, and have the watch look at them."""
        self.put(claimed, pool)
        self.watch.begin()

    def put(self, claimed: Sequence[ClaimedTask], pool: Pool[ClaimedTask]) -> None:
        """Do so without the watch: the caller has it begin."""
        self.recycling.take(len(claimed))
        self.recorder.burden.take(claimed)
        self.held.add(claimed)
        if isinstance(pool, ThreadPool):
            try:
                pool.submit_all(claimed)
            except Exception as error:
                self._release_refused(claimed, error)
        else:
            for task in claimed:
                try:
                    pool.submit(task)
                except Exception as error:
                    self._release_refused([task], error)
        self.recorder.get_ready()  # last, so that the tasks do not wait for it

    def _release_refused(self, tasks: Sequence[ClaimedTask], error: Exception) -> None:
        """Release tasks that a pool has refused, for lack of threads for example: they must not stay held without a place."""
        self.recycling.take(-len(tasks))
        for task in tasks:
            self.recorder.put((task, self.runner.without_thread(task, error)))

    def keep(self, wanted: Sequence[Wanted], found: Mapping[str, Sequence[ClaimedTask]]) -> int:
        """Hold claimed followers, which wait for the slots of others; return how many there are."""
        claimed = [task for tasks in found.values() for task in tasks]
        self.recycling.take(len(claimed))
        self.recorder.burden.take(claimed)
        self.held.add(claimed)
        self.recorder.followers.add(wanted, found)
        return len(claimed)

    def release_waiting(self) -> None:
        """Release the tasks that have not begun."""
        self.release(self.recorder.followers.take_back())
        for pool in self.pools:
            self.release(pool.take_back())

    def release(self, tasks: Iterable[ClaimedTask]) -> None:
        """Release tasks that have not begun and are no longer in a pool."""
        for task in tasks:
            self.recycling.take(-1)
            self.recorder.put((task, Released(task)))
