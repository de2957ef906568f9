"""The unfinished tasks of each claim, so that the last one takes the claim with it."""

from collections.abc import Sequence

from autotask.store import claims
from autotask.task import ClaimedTask


class Unfinished:
    """The tasks of each claim whose ends are not in the database, by their fences.

    The thread that claims adds all tasks of the claim, before any of them can end; the thread that records their ends
    forgets, one thread at a time. Both may do so twice: an outcome that is tried again may be among the records more than once.
    If one that records an end elsewhere, as in the transaction of a task, misses that the claim is over, a worker finds it
    later (:meth:`autotask.worker.receiver.Receiver.reconcile`).
    """

    def __init__(self) -> None:
        self._left: dict[int, set[int]] = {}

    def __len__(self) -> int:
        return len(self._left)

    def add(self, tasks: Sequence[ClaimedTask]) -> None:
        """Take note of the tasks of new claims."""
        for number, fences in _by_claim(tasks).items():
            self._left.setdefault(number, set()).update(fences)

    def over(self, tasks: Sequence[ClaimedTask]) -> list[int]:
        """Return the numbers of the claims that are over when these tasks are."""
        left = self._left
        return [number for number, fences in _by_claim(tasks).items() if number in left and left[number] <= fences]

    def forget(self, tasks: Sequence[ClaimedTask]) -> None:
        """Note that the ends of tasks are in the database, or that their claims are lost."""
        for number, fences in _by_claim(tasks).items():
            if (left := self._left.get(number)) is not None:
                left -= fences
                if not left:
                    del self._left[number]


def _by_claim(tasks: Sequence[ClaimedTask]) -> dict[int, set[int]]:
    bits = claims.PLACE_BITS
    fences = {task.fence for task in tasks}
    found: dict[int, set[int]] = {number: set() for number in {fence >> bits for fence in fences}}
    if len(found) == 1:  # as often, and in half the time
        return dict.fromkeys(found, fences)
    for fence in fences:
        found[fence >> bits].add(fence)
    return found
