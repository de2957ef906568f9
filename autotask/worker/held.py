"""The tasks that a worker holds: claimed, with an outcome that is not recorded yet."""

import uuid
from collections.abc import Iterable, Sequence

from autotask.store.progress import Claim
from autotask.task import ClaimedTask
from autotask.worker.unfinished import Unfinished


class HeldTasks:
    """The claims of a worker, which of them should be cancelled, and which it has given up.

    The loop adds, the recorder lets go, the heartbeat cancels, the watch and the loop give up; every thread reads. Each claim
    has its own fence, and each step is one atomic act on a dictionary or a set: so nothing here takes a lock, and the loop
    and the recorder never wait for each other.

    :ivar cancelled: the ids of tasks that somebody has asked to cancel.
    :ivar given_up: the fences of claims whose outcome was recorded before the end of the task.
    :ivar unfinished: which claims have tasks whose ends are not in the database.
    """

    def __init__(self) -> None:
        self._tasks: dict[int, ClaimedTask] = {}
        self.cancelled: set[uuid.UUID] = set()
        self.given_up: set[int] = set()
        self.unfinished = Unfinished()

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, tasks: Sequence[ClaimedTask]) -> None:
        """Hold claims. A request to cancel was for an earlier claim of the same task, if that is still held."""
        held = self._tasks
        if self.cancelled:
            self.cancelled.difference_update(self.ids().intersection([task.id for task in tasks]))
        for task in tasks:
            held[task.fence] = task
        self.unfinished.add(tasks)
        self.cancelled.update([task.id for task in tasks if task.cancel_requested])

    def let_go(self, tasks: Iterable[ClaimedTask]) -> int:
        """Forget claims that are over; return the bytes of their arguments."""
        take = self._tasks.pop
        over = [task for task in tasks if take(task.fence, None)]
        if self.cancelled:
            self.cancelled.difference_update({task.id for task in over} - self.ids())
        return sum([len(task.payload) for task in over])

    def has(self, claim: Claim) -> bool:
        """Whether a claim is held."""
        return claim[1] in self._tasks

    def ids(self) -> set[uuid.UUID]:
        """Return the ids of all tasks that are held."""
        return {task.id for task in list(self._tasks.values())}

    def fences(self) -> list[int]:
        """Return the fences of all claims that are held."""
        return list(self._tasks)

    def cancel(self, ids: Sequence[uuid.UUID], *, others: bool) -> None:
        """Note that tasks should be cancelled; with *others* even those not held, which may be on their way."""
        self.cancelled.update(ids if others else self.ids().intersection(ids))

    def is_cancelled(self, task: ClaimedTask) -> bool:
        """Whether somebody has asked to cancel a task."""
        return task.id in self.cancelled

    def forget_requests(self) -> None:
        """Forget requests to cancel if no task is held."""
        if not self._tasks:
            self.cancelled.clear()

    def give_up(self, task: ClaimedTask) -> None:
        """Note that later outcomes of a claim are not to be recorded."""
        self.given_up.add(task.fence)
