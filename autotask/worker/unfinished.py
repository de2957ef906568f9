"""How many tasks of each claim are not over yet, so that the last one takes the claim with it."""

from collections import Counter
from collections.abc import Sequence

from autotask.store import claims
from autotask.task import ClaimedTask


class Unfinished:
    """The tasks of each claim whose ends are not in the database.

    Whoever claims adds, before any of these tasks can end; whoever records their ends forgets, one thread alone. If one that
    records an end elsewhere, as in the transaction of a task, misses that the claim is over, a worker finds it later
    (:meth:`autotask.worker.receiver.Receiver.reconcile`).
    """

    def __init__(self) -> None:
        self._left: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._left)

    def add(self, tasks: Sequence[ClaimedTask]) -> None:
        """Count the tasks of new claims."""
        for number, count in _count(tasks).items():
            self._left[number] = self._left.get(number, 0) + count

    def over(self, tasks: Sequence[ClaimedTask]) -> list[int]:
        """Return the numbers of the claims that are over when these tasks are."""
        return [number for number, count in _count(tasks).items() if self._left.get(number, 0) == count]

    def forget(self, tasks: Sequence[ClaimedTask]) -> None:
        """Note that the ends of tasks are in the database, or that their claims are lost."""
        for number, count in _count(tasks).items():
            left = self._left.get(number, 0) - count
            if left > 0:
                self._left[number] = left
            else:
                self._left.pop(number, None)


def _count(tasks: Sequence[ClaimedTask]) -> Counter[int]:
    bits = claims.PLACE_BITS
    return Counter([task.fence >> bits for task in tasks])
